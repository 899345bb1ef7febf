#pragma once

#include <cstddef>
#include <cstdint>

namespace diffllama {

/// Rows of activations as the products with block-quantised panels take them: int8 quants with a
/// scale for every 32 of k, x ~ scale * quant. A row of k values (a multiple of 32) holds
///   int8    quants [k]
///   float32 scales [k / 32]
///   float32 scaled_sums [k / 32]   scale * sum of the 32 quants
///   int32   sums [k / 16]          of 16 quants each
/// and after them the residual blocks: what rounding left of the blocks with large scales, whose
/// errors would otherwise outweigh those of all the others, quantised once more:
///   int32   residual_count, residual_blocks [k / 32]   ascending indices of blocks
///   a row of 32 * residual_count values, laid out as one of k
/// Then x ~ scale * quant + residual scale * residual quant.
struct QuantizedRow {
  const std::byte* data;
  std::int64_t k;

  // Always inlined: files compiled for different ISAs use them.
  [[gnu::always_inline]] const std::int8_t* quants() const {
    return reinterpret_cast<const std::int8_t*>(data);
  }
  [[gnu::always_inline]] const float* scales() const {
    return reinterpret_cast<const float*>(data + k);
  }
  [[gnu::always_inline]] const float* scaled_sums() const { return scales() + k / 32; }
  [[gnu::always_inline]] const std::int32_t* sums() const {
    return reinterpret_cast<const std::int32_t*>(scaled_sums() + k / 32);
  }
  [[gnu::always_inline]] std::int32_t residual_count() const { return sums()[k / 16]; }
  [[gnu::always_inline]] const std::int32_t* residual_blocks() const { return sums() + k / 16 + 1; }
  /// Has no residual blocks of its own.
  [[gnu::always_inline]] QuantizedRow residual() const {
    return {reinterpret_cast<const std::byte*>(residual_blocks() + k / 32), k};
  }
};

/// Bytes of the quants, scales and sums of k values.
constexpr std::int64_t quantized_part_bytes(std::int64_t k) { return k + k / 32 * 16; }
/// Bytes of a quantised row of k values.
constexpr std::int64_t quantized_row_bytes(std::int64_t k) {
  return 2 * quantized_part_bytes(k) + 4 + k / 32 * 4;
}

/// Quantises one row: scale = max|x| / 127 over 32 values, quant = x * (127 / max|x|) rounded to
/// nearest even. Where max|x| is below 2^-120 scale and quants are 0; where a value is NaN or
/// infinite the scale is NaN. Blocks whose max|x| is more than 1.25 times the mean of all blocks'
/// (summed in ascending order, 0 for the former blocks) have a residual block: scale / 254, and
/// quants (x * (127 / max|x|) - quant) * 254 rounded to nearest even; none have one where that mean
/// is not finite. `out`: quantized_row_bytes(k), 4-byte aligned; what lies past the last residual
/// block is left alone. Every ISA gives the same bytes.
void quantize_row(const float* x, std::int64_t k, std::byte* out);

}  // namespace diffllama
