#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/quant_formats.h"

namespace diffllama {

/// Expand (quant_formats.h) for AVX-512: 16 columns at a time. Subnormal products become zero, as
/// which vdpbf16ps and AMX would take them. Only files compiled for AVX-512 may include it.
template <class Format>
struct ExpandAvx512 {
  static void step(const std::byte* in, std::uint32_t* out) {
    // 16 even values, then 16 odd ones, to pairs.
    const __m512i odd_words = _mm512_add_epi32(iota(), _mm512_set1_epi32(16));
    const __m512i pairs = _mm512_or_si512(_mm512_slli_epi32(odd_words, 16), iota());
    for (std::size_t j = 0; j < 32; j += 16) {
      const __m512 scale = half(in + 2 * j);
      const std::byte* quants = in + 64 * Format::kHalves + j;
#pragma GCC unroll 4
      for (std::size_t pair = 0; pair < 16; ++pair) {
        __m512 even, odd;
        read(quants, pair, even, odd);
        even = _mm512_mul_ps(even, scale);
        odd = _mm512_mul_ps(odd, scale);
        if constexpr (Format::kHalves == 2) {
          const __m512 minimum = half(in + 64 + 2 * j);
          even = _mm512_add_ps(even, minimum);
          odd = _mm512_add_ps(odd, minimum);
        }
        const auto words = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
        _mm512_storeu_si512(out + pair * 32 + j, _mm512_permutexvar_epi16(pairs, words));
      }
    }
  }

 private:
  static __m512i iota() {
    return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  }
  static __m512 half(const std::byte* in) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)));
  }
  static __m128i bytes(const std::byte* in) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  }
  static void read(const std::byte* quants, std::size_t pair, __m512& even, __m512& odd) {
    if constexpr (Format::kQuantBytes == 32) {
      even = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes(quants + 64 * pair)));
      odd = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes(quants + 64 * pair + 32)));
    } else {
      // The table takes the low four bits of each index.
      const __m512 table =
          _mm512_cvtepi32_ps(_mm512_sub_epi32(iota(), _mm512_set1_epi32(Format::kZero)));
      const __m512i both = _mm512_cvtepu8_epi32(bytes(quants + 32 * pair));
      even = _mm512_permutexvar_ps(both, table);
      odd = _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table);
    }
  }
};

}  // namespace diffllama
