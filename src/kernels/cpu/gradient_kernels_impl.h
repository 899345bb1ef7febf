#pragma once

#include <cstdint>

#include "kernels/cpu/activation_math.h"
#include "kernels/cpu/gradient_kernels.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/vector_math.h"

/// gradients.h over a vector type V, as row_kernels_impl.h and under its rule.
namespace diffllama {

template <class V>
float reciprocal_rms(const float* x, float eps, std::int64_t n) {
  return 1.0F / root_mean_square<V>(x, eps, n);
}

template <class V>
void rms_norm_backward(const float* x, const float* weight, float r, float scale, const float* dy,
                       float* dx, std::int64_t n) {
  using Reg = typename V::Reg;
  const auto weighted = [&](std::int64_t i, const auto& lanes) {
    const Reg g = lanes.load(dy + i);
    return weight == nullptr ? g : V::mul(g, lanes.load(weight + i));
  };
  PartialSums<V> products;
  accumulate_all<V>(products, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
    return V::fma(weighted(i, lanes), lanes.load(x + i), sum);
  });
  const float mean = products.total() / static_cast<float>(n);
  const Reg along = V::set(-(mean * r * r));
  const Reg factor = V::set(scale * r);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    const Reg across = V::fma(lanes.load(x + i), along, weighted(i, lanes));
    lanes.store(dx + i, V::fma(factor, across, lanes.load(dx + i)));
  });
}

template <class V>
void add_product(float* y, float w, const float* a, const float* b, std::int64_t n) {
  using Reg = typename V::Reg;
  const Reg weight = V::set(w);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    const Reg sum = lanes.load(y + i);
    const Reg left = lanes.load(a + i);
    lanes.store(y + i, b == nullptr ? V::fma(weight, left, sum)
                                    : V::fma(V::mul(weight, left), lanes.load(b + i), sum));
  });
}

/// Of z_k = x^k and y = sum of w_k r_k z_k + b: with g = dout up, d z_k = w_k r_k (g - z_k r_k^2
/// mean(g z_k)).
template <class V>
void poly_norm_backward(const float* gate, const float* up, const float* parameters,
                        const float* dout, float* dgate, float* dup, float* d_parameters,
                        std::int64_t n) {
  using Reg = typename V::Reg;
  const PolyNormRow<V> row(gate, n);
  float sums[4];  // of g x^k
  for (int k = 0; k < 4; ++k) {
    PartialSums<V> products;
    accumulate_all<V>(products, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
      const Reg x = lanes.load(gate + i);
      Reg g = V::mul(lanes.load(dout + i), lanes.load(up + i));
      for (int j = 1; j < k; ++j) g = V::mul(g, x);
      return k == 0 ? V::add(sum, g) : V::fma(g, x, sum);
    });
    sums[k] = products.total();
  }
  d_parameters[0] = row.r3 * sums[3];
  d_parameters[1] = row.r2 * sums[2];
  d_parameters[2] = row.r1 * sums[1];
  d_parameters[3] = sums[0];
  const auto size = static_cast<float>(n);
  const Reg c3 = V::set(parameters[0] * row.r3);
  const Reg c2 = V::set(parameters[1] * row.r2);
  const Reg c1 = V::set(parameters[2] * row.r1);
  const Reg c0 = V::set(parameters[3]);
  const Reg m3 = V::set(-(row.r3 * row.r3 * (sums[3] / size)));
  const Reg m2 = V::set(-(row.r2 * row.r2 * (sums[2] / size)));
  const Reg m1 = V::set(-(row.r1 * row.r1 * (sums[1] / size)));
  const Reg two = V::set(2.0F);
  const Reg three = V::set(3.0F);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    const Reg x = lanes.load(gate + i);
    const Reg d = lanes.load(dout + i);
    const Reg g = V::mul(d, lanes.load(up + i));
    const Reg square = V::mul(x, x);
    const Reg d3 = V::mul(c3, V::fma(V::mul(square, x), m3, g));
    const Reg d2 = V::mul(c2, V::fma(square, m2, g));
    const Reg d1 = V::mul(c1, V::fma(x, m1, g));
    const Reg dx = V::fma(V::mul(three, square), d3, V::fma(V::mul(two, x), d2, d1));
    const Reg y = V::fma(V::fma(V::fma(c3, x, c2), x, c1), x, c0);
    lanes.store(dgate + i, dx);
    lanes.store(dup + i, V::mul(d, y));
  });
}

template <class V>
void gated_activation_backward(Activation activation, const float* gate, const float* up,
                               const float* dout, float* dgate, float* dup, std::int64_t n) {
  using Reg = typename V::Reg;
  with_activation(activation, [&]<Activation kActivation> {
    for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
      const Reg x = lanes.load(gate + i);
      const Reg d = lanes.load(dout + i);
      const Reg through = V::mul(d, lanes.load(up + i));
      lanes.store(dgate + i, V::mul(through, activation_slope<V>(kActivation, x)));
      lanes.store(dup + i, V::mul(d, activate<V>(kActivation, x)));
    });
  });
}

template <class V>
float dot(const float* a, const float* b, std::int64_t n) {
  using Reg = typename V::Reg;
  PartialSums<V> sums;
  accumulate_all<V>(sums, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
    return V::fma(lanes.load(a + i), lanes.load(b + i), sum);
  });
  return sums.total();
}

template <class V>
double sum_of_squares(const float* x, std::int64_t n) {
  using Doubles = typename V::Doubles;
  DoubleSums<V> sums;
  accumulate_all<V>(sums, n, [&](std::int64_t i, const auto& lanes, const Doubles& sum) {
    const Doubles value = V::widen(lanes.load(x + i));
    return V::add(sum, V::mul(value, value));
  });
  return sums.total();
}

template <class V>
void softmax_backward(const float* a, const float* g, float d, float w, float* y, std::int64_t n) {
  using Reg = typename V::Reg;
  const Reg mean = V::set(d);
  const Reg weight = V::set(w);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    const Reg above = V::sub(lanes.load(g + i), mean);
    lanes.store(y + i, V::mul(V::mul(weight, lanes.load(a + i)), above));
  });
}

template <class V>
void scale(float* x, float w, std::int64_t n) {
  const typename V::Reg weight = V::set(w);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    lanes.store(x + i, V::mul(lanes.load(x + i), weight));
  });
}

template <class V>
void adamw(const AdamWStep& step, const float* gradient, float* value, float* first_moment,
           float* second_moment, std::int64_t n) {
  using Reg = typename V::Reg;
  const auto set = [](double x) { return V::set(static_cast<float>(x)); };
  const Reg by = set(step.gradient_scale);
  const Reg kept = set(1 - step.learning_rate * step.weight_decay);
  // As torch.lerp: from the end that is nearer.
  const bool near_first = 1 - step.beta1 < 0.5;
  const Reg weight1 = set(near_first ? 1 - step.beta1 : -step.beta1);
  const Reg beta2 = set(step.beta2);
  const Reg weight2 = set(1 - step.beta2);
  const Reg correction2 = set(step.bias_correction2_sqrt);
  const Reg eps = set(step.eps);
  const Reg rate = set(-step.learning_rate / step.bias_correction1);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    const Reg g = V::mul(lanes.load(gradient + i), by);
    const Reg before = lanes.load(first_moment + i);
    const Reg first = V::fma(weight1, V::sub(g, before), near_first ? before : g);
    const Reg second = V::fma(V::mul(weight2, g), g, V::mul(beta2, lanes.load(second_moment + i)));
    const Reg size = V::add(V::div(V::sqrt(second), correction2), eps);
    const Reg decayed = V::mul(lanes.load(value + i), kept);
    lanes.store(first_moment + i, first);
    lanes.store(second_moment + i, second);
    lanes.store(value + i, V::add(decayed, V::div(V::mul(rate, first), size)));
  });
}

template <class V>
double cross_entropy_backward(float* logits, std::int64_t n, std::int64_t label, float w) {
  using Reg = typename V::Reg;
  using Doubles = typename V::Doubles;
  const float largest = maximum<V>(logits, n);
  const double below = static_cast<double>(logits[label]) - static_cast<double>(largest);
  const Reg top = V::set(largest);
  DoubleSums<V> sums;
  accumulate_all<V>(sums, n, [&](std::int64_t i, const auto& lanes, const Doubles& sum) {
    const Reg value = exp<V>(V::sub(lanes.load(logits + i), top));
    lanes.store(logits + i, value);
    return V::add(sum, V::widen(lanes.or_zero(value)));
  });
  const double sum = sums.total();
  const double of_label = logits[label];
  scale<V>(logits, static_cast<float>(w / sum), n);
  logits[label] = static_cast<float>(w * ((of_label - sum) / sum));
  return __builtin_log(sum) - below;
}

template <class V>
GradientKernels make_gradient_kernels() {
  return {.reciprocal_rms = reciprocal_rms<V>,
          .rms_norm_backward = rms_norm_backward<V>,
          .add_product = add_product<V>,
          .gated_activation_backward = gated_activation_backward<V>,
          .poly_norm_backward = poly_norm_backward<V>,
          .dot = dot<V>,
          .sum_of_squares = sum_of_squares<V>,
          .softmax_backward = softmax_backward<V>,
          .scale = scale<V>,
          .adamw = adamw<V>,
          .cross_entropy_backward = cross_entropy_backward<V>};
}

}  // namespace diffllama
