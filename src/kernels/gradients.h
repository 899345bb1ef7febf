#pragma once

#include <cstdint>

#include "diffllama/config.h"

namespace diffllama {

/// Row kernels of training, under the rules of elementwise.h: single-threaded, float32, dispatched
/// by active_isa() once, any n >= 0, any alignment, sums over 16 partial sums and a tree. Arrays do
/// not overlap but where it is said that one may be another. NaN gives NaN wherever it enters.
/// Where a formula below has a product and a sum, written fma(), they round once on ISAs that have
/// the instruction: AVX2 and AVX-512 give the same bits.

/// 1 / sqrt(mean(x^2) + eps): what rms_norm multiplies x by, to the bit, for scale = 1. n >= 1.
float reciprocal_rms(const float* x, float eps, std::int64_t n);

/// dx += the gradient of x for y = x (scale r) weight and its gradient dy, with r =
/// reciprocal_rms(x); weight may be null. With g = weight dy it is scale r (g - x r^2 mean(g x)).
void rms_norm_backward(const float* x, const float* weight, float r, float scale, const float* dy,
                       float* dx, std::int64_t n);

/// y = fma(w a, b, y), element by element; b may be null: y = fma(w, a, y).
void add_product(float* y, float w, const float* a, const float* b, std::int64_t n);

/// Of out = activation(gate) up: dgate = dout up activation'(gate), dup = dout activation(gate),
/// the activation's bits those of gated_activation. dgate and dup may each be gate, up or dout. At
/// 0 relu' is 0.
void gated_activation_backward(Activation activation, const float* gate, const float* up,
                               const float* dout, float* dgate, float* dup, std::int64_t n);

/// Of poly_norm: dgate and dup, which may each be gate, up or dout, and the parameters' gradients
/// d_parameters[4] of this row, written.
void poly_norm_backward(const float* gate, const float* up, const float* parameters,
                        const float* dout, float* dgate, float* dup, float* d_parameters,
                        std::int64_t n);

/// Sum of fma(a, b, sum).
float dot(const float* a, const float* b, std::int64_t n);

/// In float64: the 16 partial sums too, so every ISA gives the same bits.
double sum_of_squares(const float* x, std::int64_t n);

/// y = w a (g - d): the gradient of a softmax's inputs, where a is the softmax, g its gradient and
/// d = dot(a, g). y may be a or g.
void softmax_backward(const float* a, const float* g, float d, float w, float* y, std::int64_t n);

/// x = w x
void scale(float* x, float w, std::int64_t n);

/// One step of torch.optim.AdamW. In float64, as there: 1 - beta2 of a float32 beta2 = 0.999 would
/// be off by 5e-5 of itself.
struct AdamWStep {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double gradient_scale = 1;         // g below is gradient times it: 1, or what clips its norm
  double bias_correction1 = 1;       // 1 - beta1^t at step t = 1, 2, ...
  double bias_correction2_sqrt = 1;  // sqrt(1 - beta2^t)
};
/// In torch's order of operations, each in float32:
///   value *= 1 - learning_rate weight_decay
///   first_moment += (1 - beta1) (g - first_moment)
///   second_moment = beta2 second_moment + (1 - beta2) g g
///   value -= (learning_rate / bias_correction1) first_moment
///            / (sqrt(second_moment) / bias_correction2_sqrt + eps)
void adamw(const AdamWStep& step, const float* gradient, float* value, float* first_moment,
           float* second_moment, std::int64_t n);

/// Softmax cross entropy of one row of n >= 1 logits, in place: they become w (softmax -
/// onehot(label)); returns -log softmax[label]. 0 <= label < n. Exponentials of (logit - largest)
/// are float32 to 2 ulp and summed in float64, 16 partial sums and the tree; the loss and the
/// label's own element, where softmax - 1 cancels, come from that sum in float64.
double cross_entropy_backward(float* logits, std::int64_t n, std::int64_t label, float w);

}  // namespace diffllama
