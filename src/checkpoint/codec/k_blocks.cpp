#include "checkpoint/codec/k_blocks.h"

#include <cstdint>
#include <cstring>

#include "tensor/half.h"

namespace diffllama {
namespace {

float load_half(const std::byte* from) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof bits);
  return float16_to_float(bits);
}

// What q4_k and q5_k share; high(group, i) are the bits of quant i of a group past the fourth.
template <class High>
void decode_affine(const std::byte* block, const std::byte* quants, const High& high, float* out) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  for (int group = 0; group < 8; ++group) {
    const GroupScale packed = group_scale(block + 4, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float minimum = dmin * static_cast<float>(packed.minimum);
    for (int i = 0; i < 32; ++i) {
      const int pair = std::to_integer<int>(quants[group / 2 * 32 + i]);
      const int quant = (group % 2 == 0 ? pair & 15 : pair >> 4) | high(group, i);
      out[group * 32 + i] = scale * static_cast<float>(quant) - minimum;
    }
  }
}

}  // namespace

// Groups 0 to 3 have their six bits in bytes 0 to 3 (scales) and 4 to 7 (minima); groups 4 to 7
// have the low four in bytes 8 to 11 and the upper two on top of the others'.
GroupScale group_scale(const std::byte* packed, int group) {
  const auto at = [&](int i) { return std::to_integer<int>(packed[i]); };
  if (group < 4) return {at(group) & 63, at(group + 4) & 63};
  return {(at(group + 4) & 15) | (at(group - 4) >> 6) << 4, (at(group + 4) >> 4) | (at(group) >> 6)
                                                                                       << 4};
}

void set_group_scale(std::byte* packed, int group, GroupScale value) {
  const auto put = [&](int i, int bits) { packed[i] |= static_cast<std::byte>(bits); };
  if (group < 4) {
    put(group, value.scale);
    put(group + 4, value.minimum);
    return;
  }
  put(group + 4, (value.scale & 15) | (value.minimum & 15) << 4);
  put(group - 4, (value.scale >> 4) << 6);
  put(group, (value.minimum >> 4) << 6);
}

void decode_q4_k(const std::byte* block, float* out) {
  decode_affine(
      block, block + 16, [](int, int) { return 0; }, out);
}

void decode_q5_k(const std::byte* block, float* out) {
  const std::byte* high = block + 16;
  const auto fifth = [&](int group, int i) {
    return (std::to_integer<int>(high[i]) >> group & 1) << 4;
  };
  decode_affine(block, high + 32, fifth, out);
}

void decode_q6_k(const std::byte* block, float* out) {
  const std::byte* scales = block + 192;
  const float d = load_half(block + 208);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128;      // 64 low and 32 high bytes for each
    const int row = i % 128 / 32;  // of 32 weights: two rows share low bytes, four the high ones
    const int low = std::to_integer<int>(block[half * 64 + row % 2 * 32 + i % 32]) >> (row / 2 * 4);
    const int high = std::to_integer<int>(block[128 + half * 32 + i % 32]) >> (row * 2);
    const int quant = ((low & 15) | (high & 3) << 4) - 32;
    const auto scale = static_cast<float>(static_cast<std::int8_t>(scales[i / 16]));
    out[i] = d * scale * static_cast<float>(quant);
  }
}

}  // namespace diffllama
