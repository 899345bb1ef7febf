#include "kernels/cpu/row_kernels_impl.h"
#include "kernels/cpu/x86/vector_avx2.h"

namespace diffllama {

RowKernels avx2_row_kernels() { return make_row_kernels<Avx2>(); }

}  // namespace diffllama
