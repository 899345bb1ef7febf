#include "kernels/reference/elementwise.h"

#include <algorithm>
#include <cmath>
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

void softmax(float* x, std::int64_t n, float scale) {
  constexpr std::int64_t kBlock = 256;
  float maximum = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] *= scale;
    nan = nan || std::isnan(x[i]);
    maximum = std::max(maximum, x[i]);
  }
  if (nan || std::isinf(maximum)) {
    const bool hidden = !nan && maximum < 0;
    std::fill(x, x + n, hidden ? 0.0F : std::numeric_limits<float>::quiet_NaN());
    return;
  }
  float sum = 0.0F;
  for (std::int64_t start = 0; start < n; start += kBlock) {
    float* block = x + start;
    sum += partial_sums(std::min(kBlock, n - start), [&](std::int64_t i) {
      block[i] = static_cast<float>(std::exp(double{block[i] - maximum}));
      return block[i];
    });
  }
  for (std::int64_t i = 0; i < n; ++i) x[i] /= sum;
}

void subtract_scaled(float* a1, const float* a2, float lambda, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) a1[i] -= lambda * a2[i];
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

}  // namespace diffllama::reference
