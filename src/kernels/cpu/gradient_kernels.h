#pragma once

#include <cstdint>

#include "kernels/gradients.h"
#include "kernels/isa.h"

namespace diffllama {

/// The functions of gradients.h on one ISA.
struct GradientKernels {
  float (*reciprocal_rms)(const float* x, float eps, std::int64_t n);
  void (*rms_norm_backward)(const float* x, const float* weight, float r, float scale,
                            const float* dy, float* dx, std::int64_t n);
  void (*add_product)(float* y, float w, const float* a, const float* b, std::int64_t n);
  void (*gated_activation_backward)(Activation activation, const float* gate, const float* up,
                                    const float* dout, float* dgate, float* dup, std::int64_t n);
  void (*poly_norm_backward)(const float* gate, const float* up, const float* parameters,
                             const float* dout, float* dgate, float* dup, float* d_parameters,
                             std::int64_t n);
  float (*dot)(const float* a, const float* b, std::int64_t n);
  double (*sum_of_squares)(const float* x, std::int64_t n);
  void (*softmax_backward)(const float* a, const float* g, float d, float w, float* y,
                           std::int64_t n);
  void (*scale)(float* x, float w, std::int64_t n);
  void (*adamw)(const AdamWStep& step, const float* gradient, float* value, float* first_moment,
                float* second_moment, std::int64_t n);
  double (*cross_entropy_backward)(float* logits, std::int64_t n, std::int64_t label, float w);
};

GradientKernels portable_gradient_kernels();
GradientKernels avx2_gradient_kernels();
GradientKernels avx512_gradient_kernels();

/// Those of `isa`; avx512_vnni and amx have avx512's.
GradientKernels gradient_kernels(Isa isa);

}  // namespace diffllama
