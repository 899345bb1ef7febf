#include "kernels/cpu/generic/vector_portable.h"
#include "kernels/cpu/row_kernels_impl.h"

namespace diffllama {

RowKernels portable_row_kernels() { return make_row_kernels<Portable>(); }

}  // namespace diffllama
