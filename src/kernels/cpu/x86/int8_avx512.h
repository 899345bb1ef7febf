#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/x86/vector_avx512.h"
#include "kernels/cpu/x86/vnni_dot.h"

namespace diffllama {

/// The int8 arithmetic of quantized_product.h: registers of 16 columns by 4 of k. Only files
/// compiled for AVX-512 with VNNI may include it.
struct Int8Avx512 {
  using Float = Avx512;
  using Bytes = __m512i;
  using Sums = __m512i;  // 16 int32
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 2;
  static constexpr int kFewRows = 0;
  static constexpr bool kPrefetches = true;

  static Bytes load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static Bytes low_nibbles(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
  static Bytes high_nibbles(Bytes x) {
    return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15));
  }
  /// nibbles, and the bits of kMask of `high` shifted left by kShift (right where it is negative).
  template <int kShift, int kMask>
  static Bytes insert(Bytes nibbles, Bytes high) {
    Bytes shifted;
    if constexpr (kShift >= 0) {
      shifted = _mm512_slli_epi16(high, kShift);
    } else {
      shifted = _mm512_srli_epi16(high, -kShift);
    }
    return _mm512_ternarylogic_epi32(nibbles, shifted, _mm512_set1_epi8(kMask), 0xf8);  // a | b & c
  }
  static Sums set(std::int32_t x) { return _mm512_set1_epi32(x); }
  /// The four int8 at p in every column.
  static Bytes broadcast(const std::int8_t* p) {
    std::int32_t four = 0;
    __builtin_memcpy(&four, p, sizeof(four));
    return set(four);
  }

  static Sums dpbusd(Sums sums, Bytes weights, Bytes row) {
    return _mm512_dpbusd_epi32(sums, weights, row);
  }
  template <int kBits>
  using Dot = VnniDot<Int8Avx512>;

  static Float::Reg to_float(Sums x) { return _mm512_cvtepi32_ps(x); }
  static Float::Reg fma(Float::Reg a, Float::Reg b, Float::Reg c) { return Float::fma(a, b, c); }
  static Float::Reg load_uint8(const std::byte* p) {
    return to_float(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Float::Reg load_int8(const std::byte* p) {
    return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
};

}  // namespace diffllama
