#pragma once

#include <cstdint>

#include "diffllama/config.h"
#include "kernels/elementwise.h"

namespace diffllama::reference {

/// elementwise.h one value at a time. Sums run in the contract's order, in float32 without fma (the
/// ISAs that have one differ by rounding); exponentials and activations are computed in float64
/// and rounded once.
void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n);
void rotary_embed(float* x, const float* cos, const float* sin, std::int64_t d);
SoftmaxBlock softmax_block(float* x, std::int64_t n, float factor);
void softmax_weights(const float* tops, const float* sums, std::int64_t blocks, float scale,
                     float* weights);
void weighted_sum(const float* x1, float w1, const float* x2, float w2, float* y, std::int64_t n);
void weighted_sum_bfloat16(const std::uint16_t* x1, float w1, const std::uint16_t* x2, float w2,
                           std::uint16_t* y, std::int64_t n);
/// In float64, as torch.nn.functional defines them.
double activate(Activation activation, double x);
void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n);
void add_to(float* y, const float* x, std::int64_t n);
void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n);
void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n);
void expand_q8_0(ScalesOf scales, const std::byte* panel, std::int64_t steps, std::uint16_t* out);

}  // namespace diffllama::reference
