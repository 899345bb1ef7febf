#pragma once

#include <cstddef>
#include <cstdint>

namespace diffllama {

/// quantize_row (quantized_rows.h) in plain loops that the compiler makes vectors of, once for each
/// ISA: V only keeps the copies apart.
template <class V>
void quantize_row(const float* x, std::int64_t k, std::byte* out) {
  constexpr std::uint32_t kInfinity = 0x7f800000U;
  constexpr std::uint32_t kSmallest = 0x03800000U;  // 2^-120
  constexpr float kRound = 12582912.0F;             // 1.5 * 2^23: adding it rounds to whole numbers
  auto* quants = reinterpret_cast<std::int8_t*>(out);
  auto* scales = reinterpret_cast<float*>(out + k);
  float* scaled_sums = scales + k / 32;
  auto* sums = reinterpret_cast<std::int32_t*>(scaled_sums + k / 32);
  for (std::int64_t block = 0; block < k / 32; ++block) {
    const float* values = x + 32 * block;
    std::uint32_t largest = 0;  // bits of |x| are ordered as the values are, NaN last
    for (int i = 0; i < 32; ++i) {
      const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, values[i]) & 0x7fffffffU;
      largest = bits > largest ? bits : largest;
    }
    const auto maximum = __builtin_bit_cast(float, largest);
    const bool usable = largest >= kSmallest && largest < kInfinity;
    const float inverse = usable ? 127.0F / maximum : 0.0F;
    const float scale =
        usable ? maximum / 127.0F : (largest >= kInfinity ? __builtin_nanf("") : 0.0F);
    std::int32_t rounded[32];
    for (int i = 0; i < 32; ++i) {
      const float sum = values[i] * inverse + kRound;
      rounded[i] = __builtin_bit_cast(std::int32_t, sum) - __builtin_bit_cast(std::int32_t, kRound);
    }
    if (!usable) {  // infinity times zero is no number
      for (int& quant : rounded) quant = 0;
    }
    std::int32_t halves[2] = {0, 0};
    for (int i = 0; i < 32; ++i) quants[32 * block + i] = static_cast<std::int8_t>(rounded[i]);
    for (int i = 0; i < 16; ++i) halves[0] += rounded[i];
    for (int i = 0; i < 16; ++i) halves[1] += rounded[16 + i];
    scales[block] = scale;
    scaled_sums[block] = scale * static_cast<float>(halves[0] + halves[1]);
    sums[2 * block] = halves[0];
    sums[2 * block + 1] = halves[1];
  }
}

}  // namespace diffllama
