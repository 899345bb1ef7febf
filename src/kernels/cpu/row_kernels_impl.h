#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/quantize_row_impl.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/vector_math.h"

/// elementwise.h over a vector type V (vector_*.h). A file for each ISA instantiates it; no inline
/// function of the standard library may be used here, or the linker could keep a copy compiled for
/// one ISA for all.
namespace diffllama {

/// 16 partial sums, however many registers that takes.
template <class V>
class PartialSums {
 public:
  static constexpr int kRegisters = 16 / V::kLanes;
  PartialSums() {
    for (auto& sum : sums_) sum = V::zero();
  }
  /// Adds f(j) to register j, for each j.
  template <class F>
  void accumulate(const F& f) {
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) sums_[j] = f(j, sums_[j]);
  }
  /// The tree 8+8, 4+4, 2+2, 1+1.
  float total() const {
    float s[16];
    for (int j = 0; j < kRegisters; ++j) V::store(s + j * V::kLanes, sums_[j]);
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) s[i] += s[i + width];
    }
    return s[0];
  }

 private:
  typename V::Reg sums_[kRegisters];
};

/// Lanes of register j in the last, partial group of `left` (1 to 15) values.
template <class V>
inline std::int64_t lanes_left(std::int64_t left, int j) {
  left -= j * V::kLanes;
  return left < 0 ? 0 : (left > V::kLanes ? V::kLanes : left);
}

/// y[i] = f(i, x...) for whole registers, then for what is left: step(i, lanes).
template <class V, class Whole, class Partial>
inline void for_each_register(std::int64_t n, const Whole& whole, const Partial& partial) {
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) whole(i);
  if (i < n) partial(i, n - i);
}

template <class V>
void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n) {
  using Reg = typename V::Reg;
  PartialSums<V> squares;
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    squares.accumulate([&](int j, Reg sum) {
      const Reg value = V::load(x + i + j * V::kLanes);
      return V::fma(value, value, sum);
    });
  }
  if (i < n) {
    squares.accumulate([&](int j, Reg sum) {
      const std::int64_t lanes = lanes_left<V>(n - i, j);
      if (lanes == 0) return sum;
      const Reg value = V::load_first(x + i + j * V::kLanes, lanes);
      return V::fma(value, value, sum);
    });
  }
  const float mean = squares.total() / static_cast<float>(n);
  const Reg factor = V::set(scale / __builtin_sqrtf(mean + eps));
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

/// Scales x in place and returns its maximum; -infinity for n = 0. NaN may be lost here.
template <class V>
float scale_and_maximum(float* x, std::int64_t n, float scale) {
  using Reg = typename V::Reg;
  const Reg factor = V::set(scale);
  Reg top = V::set(-__builtin_inff());
  for_each_register<V>(
      n,
      [&](std::int64_t i) {
        const Reg value = V::mul(V::load(x + i), factor);
        V::store(x + i, value);
        top = V::max(top, value);
      },
      [&](std::int64_t i, std::int64_t lanes) {
        const Reg value = V::mul(V::load_first(x + i, lanes), factor);
        V::store_first(x + i, value, lanes);
        float values[V::kLanes];
        V::store(values, V::set(-__builtin_inff()));
        V::store_first(values, value, lanes);
        top = V::max(top, V::load(values));
      });
  float tops[V::kLanes];
  V::store(tops, top);
  float maximum = tops[0];
  for (const float value : tops) maximum = value > maximum ? value : maximum;
  return maximum;
}

/// x = e^(x - maximum) for n <= 256 values; returns their sum.
template <class V>
float exponentials(float* x, std::int64_t n, float maximum) {
  using Reg = typename V::Reg;
  const Reg top = V::set(maximum);
  PartialSums<V> sums;
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    sums.accumulate([&](int j, Reg sum) {
      float* const at = x + i + j * V::kLanes;
      const Reg value = exp<V>(V::sub(V::load(at), top));
      V::store(at, value);
      return V::add(sum, value);
    });
  }
  if (i < n) {
    sums.accumulate([&](int j, Reg sum) {
      const std::int64_t lanes = lanes_left<V>(n - i, j);
      if (lanes == 0) return sum;
      float* const at = x + i + j * V::kLanes;
      V::store_first(at, exp<V>(V::sub(V::load_first(at, lanes), top)), lanes);
      return V::add(sum, V::load_first(at, lanes));  // zeros past the end
    });
  }
  return sums.total();
}

template <class V>
void softmax(float* x, std::int64_t n, float scale) {
  constexpr std::int64_t kBlock = 256;
  const float maximum = scale_and_maximum<V>(x, n, scale);
  if (maximum == -__builtin_inff()) {
    // Nothing to see, unless a NaN hides.
    bool nan = false;
    for (std::int64_t i = 0; i < n; ++i) nan = nan || x[i] != x[i];
    for (std::int64_t i = 0; i < n; ++i) x[i] = nan ? __builtin_nanf("") : 0.0F;
    return;
  }
  float sum = 0.0F;
  for (std::int64_t i = 0; i < n; i += kBlock) {
    sum += exponentials<V>(x + i, n - i < kBlock ? n - i : kBlock, maximum);
  }
  const typename V::Reg divisor = V::set(sum);
  for_each_register<V>(
      n, [&](std::int64_t i) { V::store(x + i, V::div(V::load(x + i), divisor)); },
      [&](std::int64_t i, std::int64_t lanes) {
        V::store_first(x + i, V::div(V::load_first(x + i, lanes), divisor), lanes);
      });
}

template <class V>
void subtract_scaled(float* a1, const float* a2, float lambda, std::int64_t n) {
  const typename V::Reg factor = V::set(lambda);
  for_each_register<V>(
      n,
      [&](std::int64_t i) {
        V::store(a1 + i, V::sub(V::load(a1 + i), V::mul(factor, V::load(a2 + i))));
      },
      [&](std::int64_t i, std::int64_t lanes) {
        V::store_first(
            a1 + i,
            V::sub(V::load_first(a1 + i, lanes), V::mul(factor, V::load_first(a2 + i, lanes))),
            lanes);
      });
}

/// x * sigmoid(1.5957691 (x + 0.044715 x^3)), which is x (1 + tanh(sqrt(2/pi) (...))) / 2 without
/// its cancellation.
template <class V>
inline typename V::Reg gelu_tanh(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg cubic = V::fma(V::mul(V::mul(x, x), x), V::set(0.044715F), x);
  return V::mul(x, sigmoid<V>(V::mul(cubic, V::set(1.5957691216F))));
}

template <class V>
inline typename V::Reg activate(Activation activation, typename V::Reg x) {
  switch (activation) {
    case Activation::silu:
      return V::mul(x, sigmoid<V>(x));
    case Activation::gelu:
      return V::mul(x, normal_cdf<V>(x));
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      return gelu_tanh<V>(x);
    case Activation::quick_gelu:
      return V::mul(x, sigmoid<V>(V::mul(x, V::set(1.702F))));
    case Activation::relu:
      return V::max(V::zero(), x);
    case Activation::relu2: {
      const typename V::Reg positive = V::max(V::zero(), x);
      return V::mul(positive, positive);
    }
    case Activation::tanh:
      return tanh<V>(x);
    case Activation::sigmoid:
      return sigmoid<V>(x);
  }
  return x;
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
  switch (activation) {
    case Activation::silu:
      return gated<V, Activation::silu>(gate, up, out, n);
    case Activation::gelu:
      return gated<V, Activation::gelu>(gate, up, out, n);
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      return gated<V, Activation::gelu_new>(gate, up, out, n);
    case Activation::quick_gelu:
      return gated<V, Activation::quick_gelu>(gate, up, out, n);
    case Activation::relu:
      return gated<V, Activation::relu>(gate, up, out, n);
    case Activation::relu2:
      return gated<V, Activation::relu2>(gate, up, out, n);
    case Activation::tanh:
      return gated<V, Activation::tanh>(gate, up, out, n);
    case Activation::sigmoid:
      return gated<V, Activation::sigmoid>(gate, up, out, n);
  }
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
RowKernels make_row_kernels() {
  return {.rms_norm = rms_norm<V>,
          .rotary_embed = rotary_embed<V>,
          .softmax = softmax<V>,
          .subtract_scaled = subtract_scaled<V>,
          .gated_activation = gated_activation<V>,
          .add_to = add_to<V>,
          .to_bfloat16 = to_bfloat16<V>,
          .from_bfloat16 = from_bfloat16<V>,
          .quantize_row = quantize_row<V>};
}

}  // namespace diffllama
