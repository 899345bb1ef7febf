#include "kernels/cpu/gradient_kernels_impl.h"
#include "kernels/cpu/x86/vector_avx2.h"

namespace diffllama {

GradientKernels avx2_gradient_kernels() { return make_gradient_kernels<Avx2>(); }

}  // namespace diffllama
