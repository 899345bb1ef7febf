#include "kernels/reference/gradients.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace diffllama::reference {
namespace {

/// sums[i mod 16] = step(i, sums[i mod 16]), ascending; then the tree.
template <class T, class Step>
T partial_sums(std::int64_t n, const Step& step) {
  T s[16] = {};
  for (std::int64_t i = 0; i < n; ++i) s[i % 16] = step(i, s[i % 16]);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) s[i] += s[i + width];
  }
  return s[0];
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// Its second term has its limit, 0, where the exponential in it is 0.
ActivationSlope of_terms(double first, double x, double factor) {
  const double second = factor == 0 ? 0 : x * factor;
  return {first + second, first + std::abs(second)};
}

/// (x sigmoid(z))' = s + x s (1 - s) z'
ActivationSlope gated_sigmoid_slope(double x, double z, double dz) {
  const double rest = sigmoid(z) * sigmoid(-z);
  return of_terms(sigmoid(z), x, rest == 0 ? 0 : rest * dz);
}

}  // namespace

float reciprocal_rms(const float* x, float eps, std::int64_t n) {
  const auto squares =
      partial_sums<float>(n, [&](std::int64_t i, float sum) { return std::fma(x[i], x[i], sum); });
  return 1.0F / std::sqrt(squares / static_cast<float>(n) + eps);
}

void rms_norm_backward(const float* x, const float* weight, float r, float scale, const float* dy,
                       float* dx, std::int64_t n) {
  const auto g = [&](std::int64_t i) { return weight == nullptr ? dy[i] : dy[i] * weight[i]; };
  const auto products =
      partial_sums<float>(n, [&](std::int64_t i, float sum) { return std::fma(g(i), x[i], sum); });
  const float along = products / static_cast<float>(n) * r * r;
  for (std::int64_t i = 0; i < n; ++i) {
    dx[i] = std::fma(scale * r, std::fma(x[i], -along, g(i)), dx[i]);
  }
}

void add_product(float* y, float w, const float* a, const float* b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = b == nullptr ? std::fma(w, a[i], y[i]) : std::fma(w * a[i], b[i], y[i]);
  }
}

ActivationSlope activation_slope(Activation activation, double x) {
  const auto alone = [](double value) { return ActivationSlope{value, value}; };
  switch (activation) {
    case Activation::silu:
      return gated_sigmoid_slope(x, x, 1);
    case Activation::gelu:
      return of_terms(0.5 * std::erfc(-x / std::numbers::sqrt2), x,
                      std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi));
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast: {
      const double c = std::sqrt(8.0 / std::numbers::pi);
      return gated_sigmoid_slope(x, c * (x + 0.044715 * x * x * x), c * (1 + 0.134145 * x * x));
    }
    case Activation::quick_gelu:
      return gated_sigmoid_slope(x, 1.702 * x, 1.702);
    case Activation::relu:
      if (std::isnan(x)) return alone(x);
      return alone(x > 0 ? 1 : 0);
    case Activation::relu2:
      return alone(x < 0 ? 0 : 2 * x);
    case Activation::tanh: {
      const double e = std::exp(-2 * std::abs(x));
      return alone(4 * e / ((1 + e) * (1 + e)));
    }
    case Activation::sigmoid:
      return alone(sigmoid(x) * sigmoid(-x));
    case Activation::poly_norm:
      break;
  }
  return alone(1);
}

float dot(const float* a, const float* b, std::int64_t n) {
  return partial_sums<float>(n,
                             [&](std::int64_t i, float sum) { return std::fma(a[i], b[i], sum); });
}

double sum_of_squares(const float* x, std::int64_t n) {
  return partial_sums<double>(
      n, [&](std::int64_t i, double sum) { return sum + double{x[i]} * double{x[i]}; });
}

void softmax_backward(const float* a, const float* g, float d, float w, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = w * a[i] * (g[i] - d);
}

void scale(float* x, float w, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= w;
}

void adamw(const AdamWStep& step, const float* gradient, float* value, float* first_moment,
           float* second_moment, std::int64_t n) {
  const auto weight1 = static_cast<float>(1 - step.beta1);
  const auto beta1 = static_cast<float>(step.beta1);
  const auto weight2 = static_cast<float>(1 - step.beta2);
  const auto rate = static_cast<float>(step.learning_rate / step.bias_correction1);
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * static_cast<float>(step.gradient_scale);
    value[i] *= static_cast<float>(1 - step.learning_rate * step.weight_decay);
    const float first = first_moment[i];
    first_moment[i] =
        1 - step.beta1 < 0.5 ? std::fma(weight1, g - first, first) : std::fma(-beta1, g - first, g);
    second_moment[i] = std::fma(weight2 * g, g, static_cast<float>(step.beta2) * second_moment[i]);
    const float size =
        std::sqrt(second_moment[i]) / static_cast<float>(step.bias_correction2_sqrt) +
        static_cast<float>(step.eps);
    value[i] -= rate * first_moment[i] / size;
  }
}

double cross_entropy_backward(const float* logits, std::int64_t n, std::int64_t label, double w,
                              double* gradient) {
  const double top = *std::max_element(logits, logits + n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(logits[i] - top);
  for (std::int64_t i = 0; i < n; ++i) gradient[i] = w * std::exp(logits[i] - top) / sum;
  double others = 0;
  for (std::int64_t i = 0; i < n; ++i) others += i == label ? 0 : gradient[i];
  gradient[label] = -others;
  return std::log(sum) + top - logits[label];
}

}  // namespace diffllama::reference
