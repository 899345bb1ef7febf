#include "kernels/cpu/row_kernels_impl.h"
#include "kernels/cpu/x86/vector_avx512.h"

namespace diffllama {

RowKernels avx512_vnni_row_kernels() { return make_row_kernels<Avx512>(); }

}  // namespace diffllama
