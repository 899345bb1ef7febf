#include "kernels/gradients.h"

#include "kernels/cpu/gradient_kernels.h"

namespace diffllama {
namespace {

const GradientKernels& active() {
  static const GradientKernels kernels = gradient_kernels(active_isa());
  return kernels;
}

}  // namespace

GradientKernels gradient_kernels(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return portable_gradient_kernels();
    case Isa::avx2:
    case Isa::avx_vnni:
      return avx2_gradient_kernels();
    case Isa::avx512_vnni:
    case Isa::avx512:
    case Isa::amx:
      return avx512_gradient_kernels();
  }
  return portable_gradient_kernels();
}

float reciprocal_rms(const float* x, float eps, std::int64_t n) {
  return active().reciprocal_rms(x, eps, n);
}

void rms_norm_backward(const float* x, const float* weight, float r, float scale, const float* dy,
                       float* dx, std::int64_t n) {
  active().rms_norm_backward(x, weight, r, scale, dy, dx, n);
}

void add_product(float* y, float w, const float* a, const float* b, std::int64_t n) {
  active().add_product(y, w, a, b, n);
}

void gated_activation_backward(Activation activation, const float* gate, const float* up,
                               const float* dout, float* dgate, float* dup, std::int64_t n) {
  active().gated_activation_backward(activation, gate, up, dout, dgate, dup, n);
}

void poly_norm_backward(const float* gate, const float* up, const float* parameters,
                        const float* dout, float* dgate, float* dup, float* d_parameters,
                        std::int64_t n) {
  active().poly_norm_backward(gate, up, parameters, dout, dgate, dup, d_parameters, n);
}

float dot(const float* a, const float* b, std::int64_t n) { return active().dot(a, b, n); }

double sum_of_squares(const float* x, std::int64_t n) { return active().sum_of_squares(x, n); }

void softmax_backward(const float* a, const float* g, float d, float w, float* y, std::int64_t n) {
  active().softmax_backward(a, g, d, w, y, n);
}

void scale(float* x, float w, std::int64_t n) { active().scale(x, w, n); }

void adamw(const AdamWStep& step, const float* gradient, float* value, float* first_moment,
           float* second_moment, std::int64_t n) {
  active().adamw(step, gradient, value, first_moment, second_moment, n);
}

double cross_entropy_backward(float* logits, std::int64_t n, std::int64_t label, float w) {
  return active().cross_entropy_backward(logits, n, label, w);
}

}  // namespace diffllama
