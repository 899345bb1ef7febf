#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/activation_math.h"
#include "kernels/cpu/quantize_row_impl.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/vector_math.h"

/// elementwise.h over a vector type V (vector_*.h). A file for each ISA instantiates it; no inline
/// function of the standard library may be used here, or the linker could keep a copy compiled for
/// one ISA for all.
namespace diffllama {

template <class V>
void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n) {
  using Reg = typename V::Reg;
  const Reg factor = V::set(scale / root_mean_square<V>(x, eps, n));
  for_each_register<V>(
      n,
      [&](std::int64_t at) {
        Reg value = V::mul(V::load(x + at), factor);
        if (weight != nullptr) value = V::mul(value, V::load(weight + at));
        V::store(y + at, value);
      },
      [&](std::int64_t at, std::int64_t lanes) {
        Reg value = V::mul(V::load_first(x + at, lanes), factor);
        if (weight != nullptr) value = V::mul(value, V::load_first(weight + at, lanes));
        V::store_first(y + at, value, lanes);
      });
}

/// low' = low cos - high sin; high' = high cos + low sin: each product and the sum rounded, as
/// torch does it.
template <class V>
void rotary_embed(float* x, const float* cos, const float* sin, std::int64_t d) {
  using Reg = typename V::Reg;
  float* const upper = x + d / 2;
  for_each_register<V>(
      d / 2,
      [&](std::int64_t i) {
        const Reg low = V::load(x + i);
        const Reg high = V::load(upper + i);
        const Reg c = V::load(cos + i);
        const Reg s = V::load(sin + i);
        V::store(x + i, V::sub(V::mul(low, c), V::mul(high, s)));
        V::store(upper + i, V::add(V::mul(high, c), V::mul(low, s)));
      },
      [&](std::int64_t i, std::int64_t lanes) {
        const Reg low = V::load_first(x + i, lanes);
        const Reg high = V::load_first(upper + i, lanes);
        const Reg c = V::load_first(cos + i, lanes);
        const Reg s = V::load_first(sin + i, lanes);
        V::store_first(x + i, V::sub(V::mul(low, c), V::mul(high, s)), lanes);
        V::store_first(upper + i, V::add(V::mul(high, c), V::mul(low, s)), lanes);
      });
}

/// store(i, values) and store_first(i, values, lanes) for the values that the scores become.
template <class V, class Store, class StoreFirst>
inline SoftmaxBlock exponentials(const float* x, std::int64_t n, float factor, const Store& store,
                                 const StoreFirst& store_first) {
  using Reg = typename V::Reg;
  const float top = factor * maximum<V>(x, n);
  // Where nothing is seen, any finite number in place of the maximum makes zeros, unless a NaN
  // hides.
  const Reg minus_top = V::set(top == -__builtin_inff() ? 0.0F : -top);
  const Reg scale = V::set(factor);
  PartialSums<V> sums;
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    sums.accumulate([&](int j, Reg sum) {
      const std::int64_t at = i + j * V::kLanes;
      const Reg value = exp2_nonpositive<V>(V::fma(V::load(x + at), scale, minus_top));
      store(at, value);
      return V::add(sum, value);
    });
  }
  if (i < n) {
    sums.accumulate([&](int j, Reg sum) {
      const std::int64_t lanes = lanes_left<V>(n - i, j);
      if (lanes == 0) return sum;
      const std::int64_t at = i + j * V::kLanes;
      const Reg score = V::fma(V::load_first(x + at, lanes), scale, minus_top);
      float values[V::kLanes] = {};  // zeros past the end
      V::store_first(values, exp2_nonpositive<V>(score), lanes);
      store_first(at, V::load(values), lanes);
      return V::add(sum, V::load(values));
    });
  }
  return {top, sums.total()};
}

template <class V>
SoftmaxBlock softmax_block(float* x, std::int64_t n, float factor) {
  using Reg = typename V::Reg;
  return exponentials<V>(
      x, n, factor, [&](std::int64_t i, Reg value) { V::store(x + i, value); },
      [&](std::int64_t i, Reg value, std::int64_t lanes) { V::store_first(x + i, value, lanes); });
}

template <class V>
SoftmaxBlock softmax_block_float16(const float* x, std::int64_t n, float factor, std::uint16_t* y) {
  using Reg = typename V::Reg;
  return exponentials<V>(
      x, n, factor, [&](std::int64_t i, Reg value) { V::store_float16(y + i, value); },
      [&](std::int64_t i, Reg value, std::int64_t lanes) {
        std::uint16_t last[V::kLanes];
        V::store_float16(last, value);
        __builtin_memcpy(y + i, last, static_cast<std::size_t>(lanes) * sizeof(last[0]));
      });
}

template <class V>
void softmax_weights(const float* tops, const float* sums, std::int64_t blocks, float scale,
                     float* weights) {
  using Reg = typename V::Reg;
  const float largest = maximum<V>(tops, blocks);
  const Reg top = V::set(largest == -__builtin_inff() ? 0.0F : largest);
  for_each_register<V>(
      blocks,
      [&](std::int64_t i) {
        V::store(weights + i, exp2_nonpositive<V>(V::sub(V::load(tops + i), top)));
      },
      [&](std::int64_t i, std::int64_t lanes) {
        V::store_first(weights + i,
                       exp2_nonpositive<V>(V::sub(V::load_first(tops + i, lanes), top)), lanes);
      });
  float sum = 0.0F;
  for (std::int64_t i = 0; i < blocks; ++i) sum += weights[i] * sums[i];
  const float factor = sum == 0.0F ? 0.0F : scale / sum;
  for (std::int64_t i = 0; i < blocks; ++i) weights[i] *= factor;
}

template <class V>
void weighted_sum(const float* x1, float w1, const float* x2, float w2, float* y, std::int64_t n) {
  using Reg = typename V::Reg;
  const Reg first = V::set(w1);
  const Reg second = V::set(w2);
  for_each_register<V>(
      n,
      [&](std::int64_t i) {
        const Reg left = V::mul(V::load(x1 + i), first);
        V::store(y + i, x2 == nullptr ? left : V::fma(V::load(x2 + i), second, left));
      },
      [&](std::int64_t i, std::int64_t lanes) {
        const Reg left = V::mul(V::load_first(x1 + i, lanes), first);
        const Reg sum = x2 == nullptr ? left : V::fma(V::load_first(x2 + i, lanes), second, left);
        V::store_first(y + i, sum, lanes);
      });
}

template <class V>
void weighted_sum_bfloat16(const std::uint16_t* x1, float w1, const std::uint16_t* x2, float w2,
                           std::uint16_t* y, std::int64_t n) {
  using Reg = typename V::Reg;
  const Reg first = V::set(w1);
  const Reg second = V::set(w2);
  const auto sum = [&](const std::uint16_t* a, const std::uint16_t* b) {
    const Reg left = V::mul(V::load_float16(reinterpret_cast<const std::byte*>(a)), first);
    if (b == nullptr) return left;
    return V::fma(V::load_float16(reinterpret_cast<const std::byte*>(b)), second, left);
  };
  for_each_register<V>(
      n,
      [&](std::int64_t i) {
        V::store_bfloat16_normal(y + i, sum(x1 + i, x2 == nullptr ? nullptr : x2 + i));
      },
      [&](std::int64_t i, std::int64_t lanes) {
        std::uint16_t a[V::kLanes] = {};
        std::uint16_t b[V::kLanes] = {};
        const auto bytes = static_cast<std::size_t>(lanes) * sizeof(a[0]);
        __builtin_memcpy(a, x1 + i, bytes);
        if (x2 != nullptr) __builtin_memcpy(b, x2 + i, bytes);
        V::store_bfloat16_normal(a, sum(a, x2 == nullptr ? nullptr : b));
        __builtin_memcpy(y + i, a, bytes);
      });
}

template <class V, Activation kActivation>
void gated(const float* gate, const float* up, float* out, std::int64_t n) {
  for_each_register<V>(
      n,
      [&](std::int64_t i) {
        V::store(out + i, V::mul(activate<V>(kActivation, V::load(gate + i)), V::load(up + i)));
      },
      [&](std::int64_t i, std::int64_t lanes) {
        V::store_first(out + i,
                       V::mul(activate<V>(kActivation, V::load_first(gate + i, lanes)),
                              V::load_first(up + i, lanes)),
                       lanes);
      });
}

template <class V>
void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n) {
  with_activation(activation,
                  [&]<Activation kActivation> { gated<V, kActivation>(gate, up, out, n); });
}

template <class V>
void poly_norm(const float* gate, const float* up, const float* parameters, float* out,
               std::int64_t n) {
  using Reg = typename V::Reg;
  const PolyNormRow<V> row(gate, n);
  const Reg c3 = V::set(parameters[0] * row.r3);
  const Reg c2 = V::set(parameters[1] * row.r2);
  const Reg c1 = V::set(parameters[2] * row.r1);
  const Reg c0 = V::set(parameters[3]);
  for_each_value<V>(n, [&](std::int64_t i, const auto& lanes) {
    const Reg x = lanes.load(gate + i);
    const Reg y = V::fma(V::fma(V::fma(c3, x, c2), x, c1), x, c0);
    lanes.store(out + i, V::mul(y, lanes.load(up + i)));
  });
}

template <class V>
void add_to(float* y, const float* x, std::int64_t n) {
  for_each_register<V>(
      n, [&](std::int64_t i) { V::store(y + i, V::add(V::load(y + i), V::load(x + i))); },
      [&](std::int64_t i, std::int64_t lanes) {
        V::store_first(y + i, V::add(V::load_first(y + i, lanes), V::load_first(x + i, lanes)),
                       lanes);
      });
}

template <class V>
void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n) {
  for_each_register<V>(
      n, [&](std::int64_t i) { V::store_bfloat16(y + i, V::load(x + i)); },
      [&](std::int64_t i, std::int64_t lanes) {
        std::uint16_t last[V::kLanes];
        V::store_bfloat16(last, V::load_first(x + i, lanes));
        __builtin_memcpy(y + i, last, static_cast<std::size_t>(lanes) * sizeof(last[0]));
      });
}

template <class V>
void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n) {
  for_each_register<V>(
      n, [&](std::int64_t i) { V::store(y + i, V::load_bfloat16(x + i)); },
      [&](std::int64_t i, std::int64_t lanes) {
        std::uint16_t last[V::kLanes] = {};
        __builtin_memcpy(last, x + i, static_cast<std::size_t>(lanes) * sizeof(last[0]));
        V::store_first(y + i, V::load_bfloat16(last), lanes);
      });
}

template <class V>
void expand_q8_0(ScalesOf scales, const std::byte* panel, std::int64_t steps, std::uint16_t* out) {
  using Reg = typename V::Reg;
  constexpr std::int64_t kWidth = 32;
  for (; steps > 0; --steps) {
    float scale[kWidth];
    for (std::int64_t j = 0; j < kWidth; j += V::kLanes) {
      V::store(scale + j, V::load_float16(panel + 2 * j));
    }
    panel += 2 * kWidth;
    for (std::int64_t t = 0; t < kWidth; t += 2) {
      for (std::int64_t j = 0; j < kWidth; j += V::kLanes) {
        const bool columns = scales == ScalesOf::columns;
        const Reg even = columns ? V::load(scale + j) : V::set(scale[t]);
        const Reg odd = columns ? even : V::set(scale[t + 1]);
        V::store_bfloat16_pairs(out + 2 * j, V::mul(V::load_int8(panel + j), even),
                                V::mul(V::load_int8(panel + kWidth + j), odd));
      }
      panel += 2 * kWidth;
      out += 2 * kWidth;
    }
  }
}

template <class V>
RowKernels make_row_kernels() {
  return {.rms_norm = rms_norm<V>,
          .rotary_embed = rotary_embed<V>,
          .softmax_block = softmax_block<V>,
          .softmax_block_float16 = softmax_block_float16<V>,
          .softmax_weights = softmax_weights<V>,
          .weighted_sum = weighted_sum<V>,
          .weighted_sum_bfloat16 = weighted_sum_bfloat16<V>,
          .gated_activation = gated_activation<V>,
          .poly_norm = poly_norm<V>,
          .add_to = add_to<V>,
          .to_bfloat16 = to_bfloat16<V>,
          .from_bfloat16 = from_bfloat16<V>,
          .quantize_row = RowQuantizer<V>::run,
          .expand_q8_0 = expand_q8_0<V>};
}

}  // namespace diffllama
