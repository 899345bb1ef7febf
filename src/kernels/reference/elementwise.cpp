#include "kernels/reference/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "tensor/half.h"

namespace diffllama::reference {
namespace {

/// Element i into partial i mod 16, ascending; then the tree.
template <class Term>
float partial_sums(std::int64_t n, const Term& term) {
  float s[16] = {};
  for (std::int64_t i = 0; i < n; ++i) s[i % 16] += term(i);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) s[i] += s[i + width];
  }
  return s[0];
}

/// 1 / (1 + e^-x), to full precision in the lower tail too.
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

}  // namespace

void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n) {
  const float mean =
      partial_sums(n, [&](std::int64_t i) { return x[i] * x[i]; }) / static_cast<float>(n);
  const float factor = scale / std::sqrt(mean + eps);
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = x[i] * factor * (weight != nullptr ? weight[i] : 1.0F);
  }
}

void rotary_embed(float* x, const float* cos, const float* sin, std::int64_t d) {
  for (std::int64_t i = 0; i < d / 2; ++i) {
    const float low = x[i];
    const float high = x[i + d / 2];
    x[i] = low * cos[i] - high * sin[i];
    x[i + d / 2] = high * cos[i] + low * sin[i];
  }
}

SoftmaxBlock softmax_block(float* x, std::int64_t n, float factor) {
  float top = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) top = std::max(top, factor * x[i]);
  const float zero = std::isinf(top) && top < 0 ? 0.0F : top;
  const float sum = partial_sums(n, [&](std::int64_t i) {
    const float exponent = std::fma(x[i], factor, -zero);
    x[i] = exponent < -126.0F ? 0.0F : static_cast<float>(std::exp2(double{exponent}));
    return x[i];
  });
  return {top, sum};
}

void softmax_weights(const float* tops, const float* sums, std::int64_t blocks, float scale,
                     float* weights) {
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < blocks; ++i) largest = std::max(largest, tops[i]);
  if (std::isinf(largest) && largest < 0) largest = 0;
  float sum = 0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const float exponent = tops[i] - largest;
    weights[i] = exponent < -126.0F ? 0.0F : static_cast<float>(std::exp2(double{exponent}));
    sum += weights[i] * sums[i];
  }
  const float factor = sum == 0 ? 0 : scale / sum;
  for (std::int64_t i = 0; i < blocks; ++i) weights[i] *= factor;
}

void weighted_sum(const float* x1, float w1, const float* x2, float w2, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = x2 == nullptr ? x1[i] * w1 : std::fma(x2[i], w2, x1[i] * w1);
  }
}

void weighted_sum_bfloat16(const std::uint16_t* x1, float w1, const std::uint16_t* x2, float w2,
                           std::uint16_t* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float first = float16_to_float(x1[i]);
    const float second = x2 == nullptr ? 0 : float16_to_float(x2[i]);
    float value = 0;
    weighted_sum(&first, w1, x2 == nullptr ? nullptr : &second, w2, &value, 1);
    y[i] = float_to_bfloat16(value);
  }
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::silu:
      return x * sigmoid(x);
    case Activation::gelu:
      return x * 0.5 * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      // (1 + tanh(u)) / 2 is sigmoid(2u)
      return x * sigmoid(std::sqrt(8.0 / std::numbers::pi) * (x + 0.044715 * x * x * x));
    case Activation::quick_gelu:
      return x * sigmoid(1.702 * x);
    case Activation::relu:
      return x < 0 ? 0 : x;
    case Activation::relu2:
      return x < 0 ? 0 : x * x;
    case Activation::tanh:
      return std::tanh(x);
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::poly_norm:  // no function of one value
      break;
  }
  return x;
}

void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(activate(activation, gate[i])) * up[i];
  }
}

void add_to(float* y, const float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = float_to_bfloat16(x[i]);
}

void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = bfloat16_to_float(x[i]);
}

void expand_q8_0(ScalesOf scales, const std::byte* panel, std::int64_t steps, std::uint16_t* out) {
  constexpr std::int64_t kStepBytes = 64 + 32 * 32;
  for (std::int64_t t = 0; t < 32 * steps; ++t) {
    const std::byte* step = panel + t / 32 * kStepBytes;
    for (std::int64_t j = 0; j < 32; ++j) {
      std::uint16_t scale = 0;
      std::memcpy(&scale, step + 2 * (scales == ScalesOf::columns ? j : t % 32), sizeof(scale));
      const auto quant = static_cast<std::int8_t>(step[64 + t % 32 * 32 + j]);
      out[(t / 2 * 32 + j) * 2 + t % 2] =
          float_to_bfloat16(float16_to_float(scale) * static_cast<float>(quant));
    }
  }
}

}  // namespace diffllama::reference
