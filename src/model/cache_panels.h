#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "diffllama/model.h"

namespace diffllama {

/// A step of a q8_0 panel: 32 float16 scales, then int8 quants [32 of the reduction][32 columns].
inline constexpr std::int64_t kCacheStep = 32;
inline constexpr std::int64_t kCacheStepBytes = 2 * 32 + 32 * 32;

/// Writing float32 rows into the panels of a cache (CacheLayout in kv_cache.h).

/// Keys of one head, rows[j] of d values, to columns [column, column + rows.size()) of a panel of
/// 32.
void write_key_panel(CacheType type, std::byte* panel, std::int64_t column,
                     std::span<const float* const> rows, std::int64_t d);

/// Values of up to 32 columns of a group, rows[j] of `columns` values, to the reduction's slots
/// [slot, slot + rows.size()) of a panel. Slots of one call lie in one run of 32.
void write_value_panel(CacheType type, std::byte* panel, std::int64_t slot,
                       std::span<const float* const> rows, std::int64_t columns);

/// Zeroes the slots [first, end) of a panel of values.
void clear_value_panel(CacheType type, std::byte* panel, std::int64_t first, std::int64_t end);

}  // namespace diffllama
