#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "diffllama/tensor.h"

namespace diffllama {

/// Whether tensors of this type hold weights: float32, float16, bfloat16 and the block-quantised
/// types.
bool is_weight_dtype(DType dtype);

/// Expands one row of a weight tensor to float32; `bytes` holds exactly out.size() elements.
/// float16 and bfloat16 are exact; the block types are scale * quant (+ minimum) in float32, the
/// products and sums as gguf-py's dequantize has them, bit for bit.
void decode_row(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

/// Rounds float32 to float32, float16 or bfloat16 elements, to nearest even, or quantises finite
/// values to blocks (block_quantizer.h); `out` holds exactly values.size() elements. What is too
/// large for the type decodes to infinity or NaN.
void encode_row(DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace diffllama
