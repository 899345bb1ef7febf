#pragma once

#include <cstddef>
#include <cstdint>

namespace diffllama {

/// quantize_row (quantized_rows.h) in plain loops that the compiler makes vectors of, once for each
/// ISA: V only keeps the copies apart.
template <class V>
class RowQuantizer {
 public:
  static void run(const float* x, std::int64_t k, std::byte* out) {
    const Part main(out, k);
    auto* count = reinterpret_cast<std::int32_t*>(main.sums + k / 16);
    std::int32_t* indices = count + 1;
    const Part residual(reinterpret_cast<std::byte*>(indices + k / 32), k);

    // The maxima wait where the scales will be.
    const std::int64_t blocks = k / 32;
    float sum = 0.0F;
    for (std::int64_t block = 0; block < blocks; ++block) {
      main.scales[block] = maximum(x + 32 * block);
      sum += main.scales[block];
    }
    const float limit = blocks > 0 ? 1.25F * (sum / static_cast<float>(blocks)) : 0.0F;

    *count = 0;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const float largest = main.scales[block];
      if (!(largest > 0.0F && largest < __builtin_inff())) {
        zero(main, block, largest == 0.0F ? 0.0F : __builtin_nanf(""));
        continue;
      }
      const float inverse = 127.0F / largest;
      const float scale = largest / 127.0F;
      float scaled[32];
      for (int i = 0; i < 32; ++i) scaled[i] = x[32 * block + i] * inverse;
      std::int32_t rounded[32];
      round(scaled, rounded);
      store(main, block, scale, rounded);
      if (!(largest > limit)) continue;
      for (int i = 0; i < 32; ++i) {
        scaled[i] = (scaled[i] - static_cast<float>(rounded[i])) * 254.0F;
      }
      round(scaled, rounded);
      store(residual, *count, scale / 254.0F, rounded);
      indices[*count] = static_cast<std::int32_t>(block);
      ++*count;
    }
  }

 private:
  struct Part {
    Part(std::byte* out, std::int64_t k)
        : quants(reinterpret_cast<std::int8_t*>(out)),
          scales(reinterpret_cast<float*>(out + k)),
          scaled_sums(scales + k / 32),
          sums(reinterpret_cast<std::int32_t*>(scaled_sums + k / 32)) {}
    std::int8_t* quants;
    float* scales;
    float* scaled_sums;
    std::int32_t* sums;
  };

  /// max|x| of 32 values, NaN where one is, and 0 below 2^-120.
  static float maximum(const float* x) {
    constexpr std::uint32_t kSmallest = 0x03800000U;  // 2^-120
    std::uint32_t largest = 0;  // bits of |x| are ordered as the values are, NaN last
    for (int i = 0; i < 32; ++i) {
      const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x[i]) & 0x7fffffffU;
      largest = bits > largest ? bits : largest;
    }
    return largest < kSmallest ? 0.0F : __builtin_bit_cast(float, largest);
  }

  /// To nearest even; |x| <= 127.5.
  static void round(const float (&x)[32], std::int32_t (&rounded)[32]) {
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to whole numbers
    for (int i = 0; i < 32; ++i) {
      const float sum = x[i] + kRound;
      rounded[i] = __builtin_bit_cast(std::int32_t, sum) - __builtin_bit_cast(std::int32_t, kRound);
    }
  }

  static void store(const Part& to, std::int64_t block, float scale,
                    const std::int32_t (&rounded)[32]) {
    std::int32_t halves[2] = {0, 0};
    for (int i = 0; i < 32; ++i) to.quants[32 * block + i] = static_cast<std::int8_t>(rounded[i]);
    for (int i = 0; i < 16; ++i) halves[0] += rounded[i];
    for (int i = 0; i < 16; ++i) halves[1] += rounded[16 + i];
    to.scales[block] = scale;
    to.scaled_sums[block] = scale * static_cast<float>(halves[0] + halves[1]);
    to.sums[2 * block] = halves[0];
    to.sums[2 * block + 1] = halves[1];
  }

  static void zero(const Part& to, std::int64_t block, float scale) {
    for (int i = 0; i < 32; ++i) to.quants[32 * block + i] = 0;
    to.scales[block] = scale;
    to.scaled_sums[block] = scale;
    to.sums[2 * block] = 0;
    to.sums[2 * block + 1] = 0;
  }
};

}  // namespace diffllama
