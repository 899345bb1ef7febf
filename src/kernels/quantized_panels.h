#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/panel_product.h"

namespace diffllama {

/// Elements of k that share a scale: one block of a column.
inline constexpr std::int64_t kQuantBlock = 32;

bool is_quantized(PanelFormat format);
/// Bytes of a panel for kQuantBlock of k, all 32 columns: what the blocks take in a file.
std::size_t quantized_step_bytes(PanelFormat format);

/// Puts a row of blocks, as GGUF stores it, into column `column` of a panel (panel_product.h).
void pack_blocks(PanelFormat format, std::span<const std::byte> row, std::int64_t column,
                 std::byte* panel);

/// The value at depth t of a column: scale * quant (+ minimum) in float32, as the file means it.
float quantized_value(PanelFormat format, const std::byte* panel, std::int64_t column,
                      std::int64_t t);

}  // namespace diffllama
