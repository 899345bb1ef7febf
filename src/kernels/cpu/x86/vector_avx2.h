#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace diffllama {

/// 8 floats in a register, as vector_avx512.h. Only files compiled for AVX2, FMA and F16C may
/// include it.
struct Avx2 {
  using Reg = __m256;
  using Mask = __m256;
  static constexpr int kLanes = 8;
  // A tile: of few rows it is a panel wide, of many kTileVectors registers.
  static constexpr int kAccumulators = 12;
  static constexpr int kTileVectors = 2;

  static __m256i first(std::int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg set(float x) { return _mm256_set1_ps(x); }
  /// Widened after it is broadcast: one at a time would go by way of a general register.
  static Reg set_bfloat16(const std::uint16_t* p) {
    const __m256i x = _mm256_set1_epi16(static_cast<std::int16_t>(*p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
  }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load_first(const float* p, std::int64_t n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  static void store_first(float* p, Reg x, std::int64_t n) { _mm256_maskstore_ps(p, first(n), x); }

  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg abs(Reg a) { return _mm256_andnot_ps(set(-0.0F), a); }
  static Reg copy_sign(Reg magnitude, Reg sign) {
    return _mm256_or_ps(magnitude, _mm256_and_ps(sign, set(-0.0F)));
  }
  static Mask less(Reg a, Reg b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static Reg select(Mask mask, Reg yes, Reg no) { return _mm256_blendv_ps(no, yes, mask); }
  static Reg power_of_two(Reg n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }

  static Reg round(Reg x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Reg scale_from(Reg lowest, Reg y, Reg n, Reg x) {
    return select(less(x, lowest), zero(), mul(y, power_of_two(max(lowest, n))));
  }

  struct Doubles {
    __m256d low, high;
  };
  static Doubles widen(Reg x) {
    return {_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
            _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
  }
  static Doubles add(Doubles a, Doubles b) {
    return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
  }
  static Doubles mul(Doubles a, Doubles b) {
    return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)};
  }
  static void store(double* p, Doubles x) {
    _mm256_storeu_pd(p, x.low);
    _mm256_storeu_pd(p + 4, x.high);
  }

  static __m256i load_bits(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Reg load_float16(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Reg load_even_bfloat16(const std::byte* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(load_bits(p), 16));
  }
  static Reg load_odd_bfloat16(const std::byte* p) {
    // Written out, since the compiler would keep the mask and what load_even_bfloat16 read in
    // registers and, for want of them, a tile's sums in memory.
    static constexpr std::uint64_t kHalf = 0xffff0000ffff0000U;
    alignas(32) static constexpr std::uint64_t kMask[4] = {kHalf, kHalf, kHalf, kHalf};
    __m256i bits;
    asm("vmovdqu %1, %0\n\tvpand %2, %0, %0"
        : "=x"(bits)
        : "m"(*reinterpret_cast<const __m256i_u*>(p)), "m"(kMask));
    return _mm256_castsi256_ps(bits);
  }
  static Reg load_bfloat16(const std::uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void store_bfloat16(std::uint16_t* p, Reg x) {
    const __m256i out = to_bfloat16(x);
    // vpackusdw packs within 128-bit lanes; the permutation puts the two low halves together.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(out, out), 0b1000);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  static void store_bfloat16_normal(std::uint16_t* p, Reg x) { store_bfloat16(p, x); }
  static void store_float16(std::uint16_t* p, Reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void store_bfloat16_pairs(std::uint16_t* p, Reg even, Reg odd) {
    const __m256i pairs =
        _mm256_or_si256(to_bfloat16(even), _mm256_slli_epi32(to_bfloat16(odd), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), pairs);
  }
  static Reg load_int8(const std::byte* p) {
    const __m128i quants = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quants));
  }

 private:
  /// In the lower half of each lane.
  static __m256i to_bfloat16(Reg x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(rounded, quiet,
                              _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  }
};

}  // namespace diffllama
