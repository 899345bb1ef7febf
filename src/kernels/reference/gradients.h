#pragma once

#include <cstdint>

#include "diffllama/config.h"
#include "kernels/gradients.h"

namespace diffllama::reference {

/// gradients.h one value at a time, in the contract's order with its fused operations: the same
/// bits as ISAs that have fma, but for exponentials and activations, which are computed in float64
/// and rounded once.
float reciprocal_rms(const float* x, float eps, std::int64_t n);
void rms_norm_backward(const float* x, const float* weight, float r, float scale, const float* dy,
                       float* dx, std::int64_t n);
void add_product(float* y, float w, const float* a, const float* b, std::int64_t n);
/// activation'(x) in float64, and what its terms add up to without their signs.
struct ActivationSlope {
  double value, terms;
};
ActivationSlope activation_slope(Activation activation, double x);
float dot(const float* a, const float* b, std::int64_t n);
double sum_of_squares(const float* x, std::int64_t n);
void softmax_backward(const float* a, const float* g, float d, float w, float* y, std::int64_t n);
void scale(float* x, float w, std::int64_t n);
void adamw(const AdamWStep& step, const float* gradient, float* value, float* first_moment,
           float* second_moment, std::int64_t n);
/// All in float64; `gradient` instead of in place.
double cross_entropy_backward(const float* logits, std::int64_t n, std::int64_t label, double w,
                              double* gradient);

}  // namespace diffllama::reference
