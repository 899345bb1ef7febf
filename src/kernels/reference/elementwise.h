#pragma once

#include <cstdint>

#include "diffllama/config.h"

namespace diffllama::reference {

/// elementwise.h one value at a time. Sums run in the contract's order, in float32 without fma (the
/// ISAs that have one differ by rounding); exponentials and activations are computed in float64
/// and rounded once.
void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n);
void rotary_embed(float* x, const float* cos, const float* sin, std::int64_t d);
void softmax(float* x, std::int64_t n, float scale);
void subtract_scaled(float* a1, const float* a2, float lambda, std::int64_t n);
/// In float64, as torch.nn.functional defines them.
double activate(Activation activation, double x);
void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n);
void add_to(float* y, const float* x, std::int64_t n);
void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n);
void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n);

}  // namespace diffllama::reference
