#include "kernels/cpu/generic/vector_portable.h"
#include "kernels/cpu/gradient_kernels_impl.h"

namespace diffllama {

GradientKernels portable_gradient_kernels() { return make_gradient_kernels<Portable>(); }

}  // namespace diffllama
