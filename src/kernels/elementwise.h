#pragma once

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

/// x = softmax(scale * x) in place over n scores; -infinity gives 0. The maximum is exact; the sum
/// of exponentials goes over blocks of 256 scores, each started from zero, combined in ascending
/// order; then x_i = exp_i / sum. When every score is -infinity (or n is 0) x becomes all zeros.
void softmax(float* x, std::int64_t n, float scale);

/// a1 = a1 - lambda * a2 (the differential map, equation 1 of arXiv 2410.05258).
void subtract_scaled(float* a1, const float* a2, float lambda, std::int64_t n);

/// out = activation(gate) * up. out may be gate.
void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n);

/// y += x
void add_to(float* y, const float* x, std::int64_t n);

/// Rounds to nearest even (NaN stays NaN).
void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n);
void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n);

}  // namespace diffllama
