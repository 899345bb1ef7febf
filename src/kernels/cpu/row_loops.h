#pragma once

#include <cstdint>

/// What row functions over a vector type V (vector_*.h) are made of; the rule of row_kernels_impl.h
/// holds here too.
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

/// The same in float64.
template <class V>
class DoubleSums {
 public:
  static constexpr int kRegisters = 16 / V::kLanes;
  DoubleSums() {
    for (auto& sum : sums_) sum = V::widen(V::zero());
  }
  template <class F>
  void accumulate(const F& f) {
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) sums_[j] = f(j, sums_[j]);
  }
  double total() const {
    double s[16];
    for (int j = 0; j < kRegisters; ++j) V::store(s + j * V::kLanes, sums_[j]);
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) s[i] += s[i + width];
    }
    return s[0];
  }

 private:
  typename V::Doubles sums_[kRegisters];
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

/// How a step reads and writes a whole register, or the first `lanes` of the last one: what a loop
/// hands to its body, which is then written once.
template <class V>
struct WholeRegister {
  static typename V::Reg load(const float* p) { return V::load(p); }
  static void store(float* p, typename V::Reg x) { V::store(p, x); }
  static typename V::Reg or_zero(typename V::Reg x) { return x; }
};
template <class V>
struct FirstLanes {
  std::int64_t lanes;
  typename V::Reg load(const float* p) const { return V::load_first(p, lanes); }
  void store(float* p, typename V::Reg x) const { V::store_first(p, x, lanes); }
  /// Zeros past the end.
  typename V::Reg or_zero(typename V::Reg x) const {
    float values[V::kLanes] = {};
    V::store_first(values, x, lanes);
    return V::load(values);
  }
};

/// step(i, lanes) over n values, a register at a time.
template <class V, class Step>
inline void for_each_value(std::int64_t n, const Step& step) {
  for_each_register<V>(
      n, [&](std::int64_t i) { step(i, WholeRegister<V>()); },
      [&](std::int64_t i, std::int64_t lanes) { step(i, FirstLanes<V>{lanes}); });
}

/// Partial or double sums: sum = step(i, lanes, sum) over n values.
template <class V, class Sums, class Step>
inline void accumulate_all(Sums& sums, std::int64_t n, const Step& step) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    sums.accumulate(
        [&](int j, const auto& sum) { return step(i + j * V::kLanes, WholeRegister<V>(), sum); });
  }
  if (i == n) return;
  sums.accumulate([&](int j, const auto& sum) {
    const std::int64_t lanes = lanes_left<V>(n - i, j);
    return lanes == 0 ? sum : step(i + j * V::kLanes, FirstLanes<V>{lanes}, sum);
  });
}

/// The largest of x; -infinity for n = 0. NaN may be lost here.
template <class V>
float maximum(const float* x, std::int64_t n) {
  using Reg = typename V::Reg;
  const Reg lowest = V::set(-__builtin_inff());
  Reg top = lowest;
  for_each_register<V>(
      n, [&](std::int64_t i) { top = V::max(top, V::load(x + i)); },
      [&](std::int64_t i, std::int64_t lanes) {
        float values[V::kLanes];
        V::store(values, lowest);
        V::store_first(values, V::load_first(x + i, lanes), lanes);
        top = V::max(top, V::load(values));
      });
  float tops[V::kLanes];
  V::store(tops, top);
  float largest = tops[0];
  for (const float value : tops) largest = value > largest ? value : largest;
  return largest;
}

/// sqrt(mean(x^2) + eps)
template <class V>
float root_mean_square(const float* x, float eps, std::int64_t n) {
  using Reg = typename V::Reg;
  PartialSums<V> squares;
  accumulate_all<V>(squares, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
    const Reg value = lanes.load(x + i);
    return V::fma(value, value, sum);
  });
  const float mean = squares.total() / static_cast<float>(n);
  return __builtin_sqrtf(mean + eps);
}

/// What the three norms of PolyNorm divide a row's x, x^2 and x^3 by, inverted.
template <class V>
struct PolyNormRow {
  float r1, r2, r3;

  PolyNormRow(const float* x, std::int64_t n) {
    using Reg = typename V::Reg;
    PartialSums<V> first, second, third;
    accumulate_all<V>(first, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
      const Reg value = lanes.load(x + i);
      return V::fma(value, value, sum);
    });
    accumulate_all<V>(second, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
      const Reg value = lanes.load(x + i);
      const Reg square = V::mul(value, value);
      return V::fma(square, square, sum);
    });
    accumulate_all<V>(third, n, [&](std::int64_t i, const auto& lanes, Reg sum) {
      const Reg value = lanes.load(x + i);
      const Reg cube = V::mul(V::mul(value, value), value);
      return V::fma(cube, cube, sum);
    });
    const auto inverse = [n](const PartialSums<V>& sums) {
      constexpr float kEps = 1e-6F;
      return 1.0F / __builtin_sqrtf(sums.total() / static_cast<float>(n) + kEps);
    };
    r1 = inverse(first);
    r2 = inverse(second);
    r3 = inverse(third);
  }
};

}  // namespace diffllama
