#pragma once

#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/x86/vector_avx2.h"

namespace diffllama {

/// The int8 arithmetic of quantized_product.h: registers of 8 columns by 4 of k. Only files
/// compiled for AVX2, FMA and F16C may include it.
struct Int8Avx2 {
  using Float = Avx2;
  using Bytes = __m256i;
  using Sums = __m256i;  // 8 int32
  static constexpr int kTileRows = 4;
  static constexpr int kTileVectors = 2;
  static constexpr int kFewRows = 2;
  static constexpr bool kPrefetches = false;

  static Bytes load(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Bytes low_nibbles(Bytes x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
  static Bytes high_nibbles(Bytes x) {
    return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15));
  }
  template <int kShift, int kMask>
  static Bytes insert(Bytes nibbles, Bytes high) {
    Bytes shifted;
    if constexpr (kShift >= 0) {
      shifted = _mm256_slli_epi16(high, kShift);
    } else {
      shifted = _mm256_srli_epi16(high, -kShift);
    }
    return _mm256_or_si256(nibbles, _mm256_and_si256(shifted, _mm256_set1_epi8(kMask)));
  }
  static Sums set(std::int32_t x) { return _mm256_set1_epi32(x); }
  static Bytes broadcast(const std::int8_t* p) {
    std::int32_t four = 0;
    __builtin_memcpy(&four, p, sizeof(four));
    return set(four);
  }

  /// Takes a sum as it is: the compiler would add in another order, for which it has to keep all
  /// that is added, in memory.
  static void keep(Sums& sum) { asm("" : "+x"(sum)); }

  /// vpmaddubsw sums pairs of products in 16 bits, which as many groups share as surely fit. Of 8
  /// bits not even one does, unless the weights are less their offset; it takes their signs from
  /// the row.
  template <int kBits>
  class Dot {
   public:
    static constexpr bool kSigned = kBits == 8;

    void start(std::int32_t x) { start_ = x; }
    template <int kGroup>
    void add(Bytes weights, Bytes row) {
      if constexpr (kSigned) {
        const Bytes w = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
        weights = _mm256_abs_epi8(w);
        row = _mm256_sign_epi8(row, w);
      }
      const __m256i pairs = _mm256_maddubs_epi16(weights, row);
      pairs_ = kGroup % kGroups == 0 ? pairs : _mm256_add_epi16(pairs_, pairs);
      keep(pairs_);
      if constexpr (kGroup % kGroups == kGroups - 1) {
        const __m256i sums = _mm256_madd_epi16(pairs_, _mm256_set1_epi16(1));
        sums_ = kGroup < kGroups ? sums : _mm256_add_epi32(sums_, sums);
        keep(sums_);
      }
    }
    Sums total() const { return _mm256_add_epi32(sums_, set(start_)); }

   private:
    static constexpr unsigned kLargestWeight = kSigned ? 128 : (1U << kBits) - 1;
    // A power of two, so that scales' 4 or 8 groups are whole multiples.
    static constexpr int kGroups = std::bit_floor(0x7fffU / (2 * kLargestWeight * 127));

    std::int32_t start_;
    __m256i pairs_;
    Sums sums_;
  };

  static Float::Reg to_float(Sums x) { return _mm256_cvtepi32_ps(x); }
  static Float::Reg fma(Float::Reg a, Float::Reg b, Float::Reg c) { return Float::fma(a, b, c); }
  static Float::Reg load_uint8(const std::byte* p) {
    return to_float(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static Float::Reg load_int8(const std::byte* p) {
    return to_float(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
};

}  // namespace diffllama
