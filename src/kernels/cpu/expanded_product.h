#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/quant_formats.h"
#include "kernels/panel_product.h"

namespace diffllama {

/// Products with block-quantised panels: a part of a panel is expanded to a bfloat16 panel in a
/// buffer that the caches hold, and goes through kProduct, the ISA's product for those.
///   kExpand(step, out)   Format::kStepBytes of a panel, which are 32 of k, to out[16][32] pairs
template <class Format, void (*kExpand)(const std::byte*, std::uint32_t*), PanelProduct kProduct>
class ExpandedProduct {
 public:
  static void run(const PanelArgs& p) {
    if (p.m <= kFewRows) {
      // Memory sets the pace: each panel is read in one go. Two at a time give more chains of
      // additions.
      constexpr std::int64_t kWidth = 2 * kPanelColumns;
      for (std::int64_t column = 0; column < p.columns; column += kWidth) {
        std::int64_t t = 0;
        do {
          multiply(p, column, kWidth, t, kSumBlock);
          t += kSumBlock;
        } while (t < p.k);
      }
      return;
    }
    // Long parts, so that sums are seldom stored and read again; k outermost, so that the rows'
    // values of a part stay in the second-level cache while the panels go by.
    std::int64_t t = 0;
    do {
      for (std::int64_t column = 0; column < p.columns; column += kPanelColumns) {
        multiply(p, column, kPanelColumns, t, kLongest);
      }
      t += kLongest;
    } while (t < p.k);
  }

 private:
  static constexpr std::int64_t kStep = 32;                          // k
  static constexpr std::int64_t kStepWords = std::int64_t{16} * 32;  // of the buffer
  static constexpr std::int64_t kFewRows = 16;
  static constexpr std::int64_t kLongest = 4 * kSumBlock;

  /// Adds the products of up to `depth` of k and up to `width` columns.
  static void multiply(const PanelArgs& p, std::int64_t column, std::int64_t width, std::int64_t t,
                       std::int64_t depth) {
    alignas(64) std::uint32_t buffer[kLongest / kStep * kStepWords];
    PanelArgs part = p;
    part.a = static_cast<const std::uint16_t*>(p.a) + t;
    part.k = p.k - t < depth ? p.k - t : depth;
    part.c = p.c + column;
    part.columns = p.columns - column < width ? p.columns - column : width;
    part.accumulate = p.accumulate || t > 0;
    const std::int64_t steps = (part.k + kStep - 1) / kStep;
    part.panels = reinterpret_cast<const std::byte*>(buffer);
    part.panel_stride = static_cast<std::size_t>(steps * kStepWords) * sizeof(std::uint32_t);
    std::uint32_t* out = buffer;
    for (std::int64_t j = 0; j < part.columns; j += kPanelColumns) {
      const std::byte* in =
          p.panels + static_cast<std::size_t>((column + j) / kPanelColumns) * p.panel_stride +
          static_cast<std::size_t>(t / kStep) * Format::kStepBytes;
      for (std::int64_t step = 0; step < steps; ++step) {
        prefetch(in + static_cast<std::size_t>(steps) * Format::kStepBytes);
        kExpand(in, out);
        in += Format::kStepBytes;
        out += kStepWords;
      }
    }
    kProduct(part);
  }

  /// What the next part of the same panel will read.
  static void prefetch(const std::byte* in) {
    for (std::size_t line = 0; line < Format::kStepBytes; line += 64) __builtin_prefetch(in + line);
  }
};

}  // namespace diffllama
