#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/generic/vector_portable.h"

namespace diffllama {

/// The int8 arithmetic of quantized_product.h, as x86/int8_avx512.h, in the compiler's vector
/// extension: registers of 4 columns by 4 of k.
struct Int8Portable {
  using Float = Portable;
  using Bytes = std::uint8_t __attribute__((vector_size(16)));
  using Sums = std::int32_t __attribute__((vector_size(16)));
  static constexpr int kTileRows = 2;
  static constexpr int kTileVectors = 2;
  static constexpr int kFewRows = 0;
  static constexpr bool kPrefetches = false;

  static Bytes load(const std::byte* p) {
    Bytes x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  }
  static Bytes low_nibbles(Bytes x) { return x & 15; }
  static Bytes high_nibbles(Bytes x) { return x >> 4; }
  template <int kShift, int kMask>
  static Bytes insert(Bytes nibbles, Bytes high) {
    constexpr auto kBits = static_cast<std::uint8_t>(kMask);
    if constexpr (kShift >= 0) {
      return nibbles | ((high << kShift) & kBits);
    } else {
      return nibbles | ((high >> -kShift) & kBits);
    }
  }
  static Bytes broadcast(const std::int8_t* p) {
    Bytes x;
    for (int i = 0; i < 16; ++i) x[i] = static_cast<std::uint8_t>(p[i % 4]);
    return x;
  }

  /// Sums in 32 bits from the start.
  template <int kBits>
  class Dot {
   public:
    static constexpr bool kSigned = false;

    void start(std::int32_t x) { sums_ = Sums{x, x, x, x}; }
    template <int kGroup>
    void add(Bytes weights, Bytes row) {
      for (int i = 0; i < 16; ++i) {
        sums_[i / 4] += weights[i] * static_cast<std::int8_t>(row[i]);
      }
    }
    Sums total() const { return sums_; }

   private:
    Sums sums_ = {0, 0, 0, 0};  // g++ does not see that start() sets it
  };

  static Float::Reg to_float(Sums x) { return __builtin_convertvector(x, Float::Reg); }
  /// Rounded once on every machine, unlike Portable's: products of quantised panels have the same
  /// bits on every ISA.
  static Float::Reg fma(Float::Reg a, Float::Reg b, Float::Reg c) {
    return Float::Reg{std::fma(a[0], b[0], c[0]), std::fma(a[1], b[1], c[1]),
                      std::fma(a[2], b[2], c[2]), std::fma(a[3], b[3], c[3])};
  }
  static Float::Reg load_uint8(const std::byte* p) {
    return Float::Reg{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                      static_cast<float>(p[3])};
  }
  static Float::Reg load_int8(const std::byte* p) {
    return Float::Reg{static_cast<float>(static_cast<std::int8_t>(p[0])),
                      static_cast<float>(static_cast<std::int8_t>(p[1])),
                      static_cast<float>(static_cast<std::int8_t>(p[2])),
                      static_cast<float>(static_cast<std::int8_t>(p[3]))};
  }
};

}  // namespace diffllama
