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
};

/// Bytes of a quantised row of k values.
constexpr std::int64_t quantized_row_bytes(std::int64_t k) { return k + k / 32 * 16; }

/// Quantises one row: scale = max|x| / 127 over 32 values, quant = x * (127 / max|x|) rounded to
/// nearest even. Where max|x| is below 2^-120 scale and quants are 0; where a value is NaN or
/// infinite the scale is NaN. `out`: quantized_row_bytes(k), 4-byte aligned. Every ISA gives the
/// same bytes.
void quantize_row(const float* x, std::int64_t k, std::byte* out);

}  // namespace diffllama
