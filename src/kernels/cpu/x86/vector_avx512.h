#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace diffllama {

/// 16 floats in a register: what tile_product.h and row_kernels.h are written in. Needs no BF16.
/// Only files compiled for AVX-512 may include it.
struct Avx512 {
  using Reg = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16;
  // A tile: of few rows it is a panel wide, of many kTileVectors registers.
  static constexpr int kAccumulators = 24;
  static constexpr int kTileVectors = 4;

  static Mask first(std::int64_t n) { return static_cast<Mask>((1U << n) - 1U); }

  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg set(float x) { return _mm512_set1_ps(x); }
  static Reg set_bfloat16(const std::uint16_t* p) {
    const __m512i x = _mm512_set1_epi16(static_cast<std::int16_t>(*p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
  }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load_first(const float* p, std::int64_t n) {
    return _mm512_maskz_loadu_ps(first(n), p);
  }
  static void store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static void store_first(float* p, Reg x, std::int64_t n) {
    _mm512_mask_storeu_ps(p, first(n), x);
  }

  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg sqrt(Reg a) { return _mm512_sqrt_ps(a); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  /// a > b ? a : b, so b where either is NaN; and likewise min.
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg abs(Reg a) { return _mm512_abs_ps(a); }
  static Reg copy_sign(Reg magnitude, Reg sign) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(sign, set(-0.0F)));
  }
  static Mask less(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Reg select(Mask mask, Reg yes, Reg no) { return _mm512_mask_blend_ps(mask, no, yes); }
  /// 2^n of whole numbers n in [-126, 127].
  static Reg power_of_two(Reg n) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }

  /// To the nearest whole number, ties to even; |x| < 2^22.
  static Reg round(Reg x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// y 2^n, or 0 where x < lowest; n in [-126, 127] elsewhere.
  static Reg scale_from(Reg lowest, Reg y, Reg n, Reg x) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, lowest, _CMP_NLT_UQ), y, n);
  }

  /// The lanes in float64.
  struct Doubles {
    __m512d low, high;
  };
  static Doubles widen(Reg x) {
    return {_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
            _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};
  }
  static Doubles add(Doubles a, Doubles b) {
    return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
  }
  static Doubles mul(Doubles a, Doubles b) {
    return {_mm512_mul_pd(a.low, b.low), _mm512_mul_pd(a.high, b.high)};
  }
  static void store(double* p, Doubles x) {
    _mm512_storeu_pd(p, x.low);
    _mm512_storeu_pd(p + 8, x.high);
  }

  static Reg load_float16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  /// The even and the odd values of 16 pairs of bfloat16.
  static Reg load_even_bfloat16(const std::byte* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  static Reg load_odd_bfloat16(const std::byte* p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static Reg load_bfloat16(const std::uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static void store_bfloat16(std::uint16_t* p, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(to_bfloat16(x)));
  }
  /// The same, but subnormals may become 0.
  static void store_bfloat16_normal(std::uint16_t* p, Reg x) { store_bfloat16(p, x); }
  /// To nearest even.
  static void store_float16(std::uint16_t* p, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  /// Pairs (even, odd) side by side.
  static void store_bfloat16_pairs(std::uint16_t* p, Reg even, Reg odd) {
    _mm512_storeu_si512(
        p, _mm512_or_si512(to_bfloat16(even), _mm512_slli_epi32(to_bfloat16(odd), 16)));
  }
  static Reg load_int8(const std::byte* p) {
    const __m128i quants = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quants));
  }

 private:
  /// In the lower half of each lane.
  static __m512i to_bfloat16(Reg x) {
    // vcvtneps2bf16 would flush subnormals to zero; this rounds them as every other ISA does.
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
  }
};

}  // namespace diffllama
