#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/panel_product.h"

namespace diffllama {

/// Elements of k in a step of a panel: they share a scale (q6_k: two halves of them have one each).
inline constexpr std::int64_t kQuantStep = 32;

/// How a block-quantised format lies in a panel. A block is `steps` steps of 32 of k, for all 32
/// columns, and takes as many bytes as in a file, or 4 a column more (q4_k, q5_k, whose scales of
/// 6 bits become bytes):
///   header   float16 [halves][32]: d, then m or dmin
///   step     int8 or uint8 [scales][32], where steps have their own (q6_k signed, one for each 16
///            of k), then uint8 [32] of minima;
///            uint8 [high_bits][32][4]: the quants' bits past the fourth. Bits of the four of k in
///            group g = k / 4 of the step stand side by side: with one high bit it is bit g, with
///            two those of groups 0..3 lie in the first part, of 4..7 in the second;
///            the quants: 8 bits uint8 [8][32][4], group by group; 4 bits uint8 [4][32][4], an even
///            group in the low halves and the next group in the high ones
/// A weight is scale * (quant - offset) + minimum, where scale = d, or d * scales[...], and minimum
/// = 0, m, or -(dmin * minima[...]).
struct QuantLayout {
  int steps;
  int halves;
  int scales;
  int minima;
  int high_bits;
  int quant_bits;
  int offset;

  constexpr std::size_t header_bytes() const {
    return static_cast<std::size_t>(halves) * 2 * kPanelColumns;
  }
  constexpr std::size_t high_offset() const {
    return static_cast<std::size_t>(scales + minima) * kPanelColumns;
  }
  constexpr std::size_t quants_offset() const {
    return high_offset() + static_cast<std::size_t>(high_bits) * 4 * kPanelColumns;
  }
  constexpr std::size_t step_bytes() const {
    return quants_offset() + static_cast<std::size_t>(quant_bits) * 4 * kPanelColumns;
  }
  constexpr std::size_t block_bytes() const {
    return header_bytes() + static_cast<std::size_t>(steps) * step_bytes();
  }
  /// k of a block.
  constexpr std::int64_t block_depth() const { return steps * kQuantStep; }
};

constexpr bool is_quantized(PanelFormat format) { return format >= PanelFormat::q8_0; }

/// Of a quantised format.
constexpr QuantLayout quant_layout(PanelFormat format) {
  switch (format) {
    case PanelFormat::q4_0:
      return {1, 1, 0, 0, 0, 4, 8};
    case PanelFormat::q4_1:
      return {1, 2, 0, 0, 0, 4, 0};
    case PanelFormat::q5_0:
      return {1, 1, 0, 0, 1, 4, 16};
    case PanelFormat::q5_1:
      return {1, 2, 0, 0, 1, 4, 0};
    case PanelFormat::q4_k:
      return {8, 2, 1, 1, 0, 4, 0};
    case PanelFormat::q5_k:
      return {8, 2, 1, 1, 1, 4, 0};
    case PanelFormat::q6_k:
      return {8, 1, 2, 0, 2, 4, 32};
    default:  // q8_0: int8 quants stored as uint8
      return {1, 1, 0, 0, 0, 8, 128};
  }
}

/// Whether products multiply the rows' residual blocks (quantized_rows.h) as well. With fewer bits
/// the weights' own error is many times that of the rows.
constexpr bool takes_residuals(PanelFormat format) {
  const QuantLayout layout = quant_layout(format);
  return layout.quant_bits + layout.high_bits >= 6;
}

/// Bytes of a block of one row in a GGUF file.
std::size_t file_block_bytes(PanelFormat format);

/// Puts a row of blocks, as GGUF stores it, into column `column` of a panel.
void pack_blocks(PanelFormat format, std::span<const std::byte> row, std::int64_t column,
                 std::byte* panel);

/// A weight of a panel in its parts; scale and minimum are exact in float32.
struct QuantizedWeight {
  int quant;  // offset subtracted
  float scale, minimum;
};
QuantizedWeight quantized_weight(PanelFormat format, const std::byte* panel, std::int64_t column,
                                 std::int64_t t);

/// The weight at depth t of a column, as the file means it: scale * quant (+ minimum) in float32.
float quantized_value(PanelFormat format, const std::byte* panel, std::int64_t column,
                      std::int64_t t);

}  // namespace diffllama
