#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/half.h"

namespace diffllama {

/// 4 floats in a register, as x86/vector_avx512.h, in the compiler's vector extension: any machine.
struct Portable {
  using Reg = float __attribute__((vector_size(16)));
  using Mask = std::int32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  // A tile: of few rows it is a panel wide, of many kTileVectors registers.
  static constexpr int kAccumulators = 8;
  static constexpr int kTileVectors = 2;

  static Reg zero() { return set(0.0F); }
  static Reg set(float x) { return Reg{x, x, x, x}; }
  static Reg set_bfloat16(const std::uint16_t* p) { return set(bfloat16_to_float(*p)); }
  static Reg load(const float* p) { return load_first(p, kLanes); }
  static Reg load_first(const float* p, std::int64_t n) {
    Reg x = zero();
    std::memcpy(&x, p, static_cast<std::size_t>(n) * sizeof(float));
    return x;
  }
  static void store(float* p, Reg x) { store_first(p, x, kLanes); }
  static void store_first(float* p, Reg x, std::int64_t n) {
    std::memcpy(p, &x, static_cast<std::size_t>(n) * sizeof(float));
  }

  static Reg add(Reg a, Reg b) { return a + b; }
  static Reg sub(Reg a, Reg b) { return a - b; }
  static Reg mul(Reg a, Reg b) { return a * b; }
  static Reg div(Reg a, Reg b) { return a / b; }
  static Reg sqrt(Reg a) {
    return Reg{std::sqrt(a[0]), std::sqrt(a[1]), std::sqrt(a[2]), std::sqrt(a[3])};
  }
  static Reg fma(Reg a, Reg b, Reg c) {
#ifdef FP_FAST_FMAF
    return Reg{std::fma(a[0], b[0], c[0]), std::fma(a[1], b[1], c[1]), std::fma(a[2], b[2], c[2]),
               std::fma(a[3], b[3], c[3])};
#else
    return a * b + c;
#endif
  }
  static Reg max(Reg a, Reg b) { return a > b ? a : b; }
  static Reg min(Reg a, Reg b) { return a < b ? a : b; }
  static Reg abs(Reg a) { return bits(to_bits(a) & 0x7fffffff); }
  static Reg copy_sign(Reg magnitude, Reg sign) {
    return bits(to_bits(magnitude) | (to_bits(sign) & INT32_MIN));
  }
  static Mask less(Reg a, Reg b) { return a < b; }
  static Reg select(Mask mask, Reg yes, Reg no) { return mask ? yes : no; }
  static Reg power_of_two(Reg n) { return bits((__builtin_convertvector(n, Mask) + 127) << 23); }

  static Reg round(Reg x) {
    const Reg magic = set(0x1.8p23F);
    return x + magic - magic;
  }
  static Reg scale_from(Reg lowest, Reg y, Reg n, Reg x) {
    return select(less(x, lowest), zero(), y * power_of_two(max(lowest, n)));
  }

  struct Doubles {
    double lanes[kLanes];
  };
  static Doubles widen(Reg x) { return {{x[0], x[1], x[2], x[3]}}; }
  static Doubles add(Doubles a, const Doubles& b) {
    for (int i = 0; i < kLanes; ++i) a.lanes[i] += b.lanes[i];
    return a;
  }
  static Doubles mul(Doubles a, const Doubles& b) {
    for (int i = 0; i < kLanes; ++i) a.lanes[i] *= b.lanes[i];
    return a;
  }
  static void store(double* p, const Doubles& x) { std::memcpy(p, x.lanes, sizeof(x.lanes)); }

  static Reg load_float16(const std::byte* p) { return widen<float16_to_float>(p, 1); }
  static Reg load_even_bfloat16(const std::byte* p) { return widen<bfloat16_to_float>(p, 2); }
  static Reg load_odd_bfloat16(const std::byte* p) { return widen<bfloat16_to_float>(p + 2, 2); }
  static Reg load_bfloat16(const std::uint16_t* p) {
    return widen<bfloat16_to_float>(reinterpret_cast<const std::byte*>(p), 1);
  }
  static void store_bfloat16(std::uint16_t* p, Reg x) {
    for (int i = 0; i < kLanes; ++i) p[i] = float_to_bfloat16(x[i]);
  }
  static void store_bfloat16_normal(std::uint16_t* p, Reg x) { store_bfloat16(p, x); }
  static void store_float16(std::uint16_t* p, Reg x) {
    for (int i = 0; i < kLanes; ++i) p[i] = float_to_float16(x[i]);
  }
  static void store_bfloat16_pairs(std::uint16_t* p, Reg even, Reg odd) {
    for (int i = 0; i < kLanes; ++i) {
      p[static_cast<std::ptrdiff_t>(2) * i] = float_to_bfloat16(even[i]);
      p[2 * i + 1] = float_to_bfloat16(odd[i]);
    }
  }
  static Reg load_int8(const std::byte* p) {
    Reg x = zero();
    for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(static_cast<std::int8_t>(p[i]));
    return x;
  }

 private:
  static Mask to_bits(Reg x) { return reinterpret_cast<Mask>(x); }
  static Reg bits(Mask x) { return reinterpret_cast<Reg>(x); }
  template <float (*kConvert)(std::uint16_t)>
  static Reg widen(const std::byte* p, std::size_t step) {
    Reg x = zero();
    for (std::size_t i = 0; i < kLanes; ++i) {
      std::uint16_t half = 0;
      std::memcpy(&half, p + 2 * i * step, sizeof(half));
      x[i] = kConvert(half);
    }
    return x;
  }
};

}  // namespace diffllama
