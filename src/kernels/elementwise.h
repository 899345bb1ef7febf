#pragma once

#include <cstddef>
#include <cstdint>

#include "diffllama/config.h"

namespace diffllama {

/// Row kernels: single-threaded, float32, dispatched by active_isa() once. n is any size >= 0,
/// pointers need no alignment. Sums run over 16 partial sums (element i into partial i mod 16,
/// ascending), then a tree: 8+8, 4+4, 2+2, 1+1.

/// y = x * (scale / sqrt(mean(x^2) + eps)), then times weight where it is not null. y may be x.
/// LlamaRMSNorm; with scale = 1 - lambda_init and no weight, the per-head norm of differential
/// attention.
void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n);

/// Rotates the pairs (i, i + d/2) of x in place ("rotate half"): cos and sin hold d/2 values each.
void rotary_embed(float* x, const float* cos, const float* sin, std::int64_t d);
/// The same of the pairs (2i, 2i + 1).
void rotary_embed_interleaved(float* x, const float* cos, const float* sin, std::int64_t d);

/// A softmax goes over blocks of at most 256 scores, each with a maximum and a sum of its own, so
/// that blocks may be computed anywhere; softmax_weights() then joins them in ascending order.
struct SoftmaxBlock {
  float top;  // the largest score times `factor`; -infinity when nothing is seen
  float sum;  // of what the scores became
};
/// x = 2^(factor * x - top) in place, factor > 0: for softmax(scale * x) it is scale / ln 2.
/// factor * x - top is one fma. A score of -infinity, and whatever falls below 2^-126, gives 0.
SoftmaxBlock softmax_block(float* x, std::int64_t n, float factor);
/// The same, but what x becomes goes to y, rounded to float16; the sum is that of the unrounded.
SoftmaxBlock softmax_block_float16(const float* x, std::int64_t n, float factor, std::uint16_t* y);
/// What each block's values are multiplied by to become scale * softmax: with w_b = 2^(top_b -
/// largest top) and the sum L of w_b sum_b in ascending order, weights_b = w_b * (scale / L). All 0
/// where nothing is seen. weights may be tops.
void softmax_weights(const float* tops, const float* sums, std::int64_t blocks, float scale,
                     float* weights);

/// y = w1 x1 + w2 x2, the second product fused (x2 may be null: y = w1 x1): the differential map,
/// equation 1 of arXiv 2410.05258, from two blocks. y may be x1 or x2.
void weighted_sum(const float* x1, float w1, const float* x2, float w2, float* y, std::int64_t n);
/// The same from float16 to bfloat16, rounded to nearest even; subnormal results may become 0,
/// which is what products of bfloat16 take them for.
void weighted_sum_bfloat16(const std::uint16_t* x1, float w1, const std::uint16_t* x2, float w2,
                           std::uint16_t* y, std::int64_t n);

/// out = activation(gate) * up. out may be gate.
void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n);

/// PolyNorm: out = (w0 n(x^3) + w1 n(x^2) + w2 n(x) + b) * up for x = gate and n(z) = z /
/// sqrt(mean( z^2) + 1e-6); parameters are w0, w1, w2, b. out may be gate.
void poly_norm(const float* gate, const float* up, const float* parameters, float* out,
               std::int64_t n);

/// y += x
void add_to(float* y, const float* x, std::int64_t n);

/// Rounds to nearest even (NaN stays NaN).
void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n);
void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n);

/// `steps` times 32 of k of an 8-bit panel, expanded to those of a bfloat16 panel
/// (panel_product.h): each 32 float16 scales, then int8 [32 of k][32 columns]. The scales belong to
/// the columns (panels of keys), or to the k: what a panel of values needs that grows key by key.
/// scale * quant is exact in float32 and rounds once.
enum class ScalesOf { columns, depth };
void expand_q8_0(ScalesOf scales, const std::byte* panel, std::int64_t steps, std::uint16_t* out);

}  // namespace diffllama
