#include "checkpoint/codec/block_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr int kBlock = 32;

void store_half(float value, std::byte* to) {
  const std::uint16_t bits = float_to_float16(value);
  std::memcpy(to, &bits, sizeof bits);
}

float inverse(float scale) { return scale != 0 ? 1.0F / scale : 0.0F; }

// The whole part of a quant with 0.5 added to it, kept in [0, top]. Scales so small that their
// inverse is infinite give NaN here; their blocks are zero whatever the quants.
int whole(float value, int top) {
  if (!(value > 0)) return 0;
  return static_cast<int>(std::min(value, static_cast<float>(top)));
}

// The weight of largest magnitude, with its sign; the first of equals.
float extreme(const float* weights) {
  float largest = 0;
  for (int i = 0; i < kBlock; ++i) {
    if (std::abs(weights[i]) > std::abs(largest)) largest = weights[i];
  }
  return largest;
}

// Low halves of 32 quants: byte i holds quants i and i + 16. Returns their fifth bits, bit i of
// quant i.
std::uint32_t store_quants(const int* quants, std::byte* to) {
  std::uint32_t fifth = 0;
  for (int i = 0; i < 16; ++i) {
    to[i] = static_cast<std::byte>((quants[i] & 15) | (quants[i + 16] & 15) << 4);
  }
  for (int i = 0; i < kBlock; ++i) fifth |= static_cast<std::uint32_t>(quants[i] >> 4) << i;
  return fifth;
}

// value = scale * (quant - half), the extreme weight at quant 0. Returns the fifth bits.
std::uint32_t quantize_symmetric(const float* weights, int half, std::byte* scale_at,
                                 std::byte* quants_at) {
  const float scale = extreme(weights) / static_cast<float>(-half);
  const float factor = inverse(scale);
  int quants[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    quants[i] = whole(weights[i] * factor + (static_cast<float>(half) + 0.5F), 2 * half - 1);
  }
  store_half(scale, scale_at);
  return store_quants(quants, quants_at);
}

// value = scale * quant + minimum. Returns the fifth bits.
std::uint32_t quantize_range(const float* weights, int top, std::byte* scale_at,
                             std::byte* quants_at) {
  const auto [low, high] = std::minmax_element(weights, weights + kBlock);
  const float scale = (*high - *low) / static_cast<float>(top);
  const float factor = inverse(scale);
  int quants[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    quants[i] = whole((weights[i] - *low) * factor + 0.5F, top);
  }
  store_half(scale, scale_at);
  store_half(*low, scale_at + 2);
  return store_quants(quants, quants_at);
}

}  // namespace

void quantize_q8_0(const float* weights, std::byte* block) {
  const float scale = std::abs(extreme(weights)) / 127.0F;
  const float factor = inverse(scale);
  store_half(scale, block);
  for (int i = 0; i < kBlock; ++i) {
    const float quant = std::round(weights[i] * factor);
    const bool fits = quant >= -127.0F && quant <= 127.0F;  // not with an infinite factor
    block[2 + i] = static_cast<std::byte>(fits ? static_cast<int>(quant) : 0);
  }
}

void quantize_q4_0(const float* weights, std::byte* block) {
  quantize_symmetric(weights, 8, block, block + 2);
}

void quantize_q4_1(const float* weights, std::byte* block) {
  quantize_range(weights, 15, block, block + 4);
}

void quantize_q5_0(const float* weights, std::byte* block) {
  const std::uint32_t fifth = quantize_symmetric(weights, 16, block, block + 6);
  std::memcpy(block + 2, &fifth, sizeof fifth);
}

void quantize_q5_1(const float* weights, std::byte* block) {
  const std::uint32_t fifth = quantize_range(weights, 31, block, block + 8);
  std::memcpy(block + 4, &fifth, sizeof fifth);
}

}  // namespace diffllama
