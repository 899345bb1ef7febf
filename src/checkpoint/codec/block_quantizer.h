#pragma once

#include <cstddef>

namespace diffllama {

// Blocks of GGUF from float32 weights, which must be finite. Layouts: row_codec.cpp, k_blocks.h.

/// 32 weights by the reference rule of each format, with the bytes that llama-quantize writes: the
/// scale puts the largest magnitude (q4_1, q5_1: the range) on the ends of the quants' range, and
/// each weight rounds to its nearest quant, with the scale as it was before rounding to float16.
void quantize_q8_0(const float* weights, std::byte* block);
void quantize_q4_0(const float* weights, std::byte* block);
void quantize_q4_1(const float* weights, std::byte* block);
void quantize_q5_0(const float* weights, std::byte* block);
void quantize_q5_1(const float* weights, std::byte* block);

/// 256 weights. Scales and minima of the groups are searched for, so that the squared errors,
/// weighted towards large weights, become small; quants are then chosen for the scales as rounded.
void quantize_q4_k(const float* weights, std::byte* block);
void quantize_q5_k(const float* weights, std::byte* block);
void quantize_q6_k(const float* weights, std::byte* block);

}  // namespace diffllama
