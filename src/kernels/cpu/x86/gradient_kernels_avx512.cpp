#include "kernels/cpu/gradient_kernels_impl.h"
#include "kernels/cpu/x86/vector_avx512.h"

namespace diffllama {

GradientKernels avx512_gradient_kernels() { return make_gradient_kernels<Avx512>(); }

}  // namespace diffllama
