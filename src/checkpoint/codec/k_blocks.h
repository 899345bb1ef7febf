#pragma once

#include <cstddef>

namespace diffllama {

/// Blocks of 256 weights, GGUF's Q4_K, Q5_K and Q6_K ("super-blocks"). In q4_k and q5_k eight
/// groups of 32 have a scale and a minimum of 6 bits each, in q6_k sixteen groups of 16 have a
/// scale of 8 bits; float16 factors multiply those.
inline constexpr int kSuperBlock = 256;

/// The 6-bit scale and minimum of one group.
struct GroupScale {
  int scale = 0;
  int minimum = 0;
};
/// Of group `group` in the 12 bytes that hold eight.
GroupScale group_scale(const std::byte* packed, int group);
/// Puts it there; the bytes were zero before.
void set_group_scale(std::byte* packed, int group, GroupScale value);

/// [f16 d][f16 dmin][12 bytes of scales][128 bytes]: for each 64 weights 32 bytes, the first 32
/// quants in the low halves; value = (d * scale) * quant - (dmin * minimum), as float32.
void decode_q4_k(const std::byte* block, float* out);
/// [f16 d][f16 dmin][12 bytes of scales][32 bytes of high bits][128 bytes]: as q4_k; bit g of high
/// byte i is the fifth of quant i of group g.
void decode_q5_k(const std::byte* block, float* out);
/// [128 bytes][64 bytes][16 int8 scales][f16 d]: for each 128 weights 64 bytes of low halves and 32
/// of two high bits; value = (d * scale) * (quant - 32), as float32.
void decode_q6_k(const std::byte* block, float* out);

}  // namespace diffllama
