#pragma once

#include <cstddef>
#include <cstdint>

namespace diffllama {

// How 32 of k lie in a panel (panel_product.h), for the kernels: halves first, then the quants.
struct Q8_0 {
  static constexpr std::size_t kHalves = 1;
  static constexpr std::size_t kQuantBytes = 32;  // of one column
  static constexpr std::size_t kStepBytes = (2 * kHalves + kQuantBytes) * 32;
};
struct Q4_0 {
  static constexpr std::size_t kHalves = 1;
  static constexpr std::size_t kQuantBytes = 16;
  static constexpr std::size_t kStepBytes = (2 * kHalves + kQuantBytes) * 32;
  static constexpr int kZero = 8;  // the quant that stands for 0
};
struct Q4_1 {
  static constexpr std::size_t kHalves = 2;
  static constexpr std::size_t kQuantBytes = 16;
  static constexpr std::size_t kStepBytes = (2 * kHalves + kQuantBytes) * 32;
  static constexpr int kZero = 0;
};

/// Expands 32 of k of a panel to pairs of bfloat16, over a vector type V, which keeps the code of
/// each ISA apart.
template <class V, class Format>
struct Expand {
  static void step(const std::byte* in, std::uint32_t* out) {
    float halves[Format::kHalves][32];
    for (std::size_t half = 0; half < Format::kHalves; ++half) {
      for (std::size_t j = 0; j < 32; j += V::kLanes) {
        V::store(halves[half] + j, V::load_float16(in + 2 * (half * 32 + j)));
      }
    }
    const auto* quants = reinterpret_cast<const std::uint8_t*>(in) + 64 * Format::kHalves;
    for (std::size_t pair = 0; pair < 16; ++pair) {
      for (std::size_t j = 0; j < 32; ++j) {
        float even = halves[0][j] * quant(quants, pair, 0, j);
        float odd = halves[0][j] * quant(quants, pair, 1, j);
        if constexpr (Format::kHalves == 2) {
          even += halves[1][j];
          odd += halves[1][j];
        }
        out[pair * 32 + j] = (round(even) >> 16) | (round(odd) & 0xffff0000U);
      }
    }
  }

 private:
  static float quant(const std::uint8_t* quants, std::size_t pair, std::size_t odd, std::size_t j) {
    if constexpr (Format::kQuantBytes == 32) {
      return static_cast<float>(static_cast<std::int8_t>(quants[(2 * pair + odd) * 32 + j]));
    } else {
      const int byte = quants[pair * 32 + j];
      return static_cast<float>((odd == 0 ? byte & 15 : byte >> 4) - Format::kZero);
    }
  }
  /// To the upper half, to nearest even; NaN stays NaN.
  static std::uint32_t round(float value) {
    std::uint32_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
    return (bits & 0x7fffffffU) > 0x7f800000U ? bits | 0x400000U : rounded;
  }
};

}  // namespace diffllama
