#pragma once

#include <cstdint>

namespace diffllama {

/// What AMX's tile registers hold; those without rows are not used. Only files compiled for AMX may
/// include it.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t column_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(int tile, std::int64_t row_count, std::int64_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(row_count);
    column_bytes[tile] = static_cast<std::uint16_t>(row_count > 0 ? bytes : 0);
  }
  /// Zeroes every tile.
  void load() const {
    // The intrinsic does not tell the compiler that it reads all of the configuration.
    __asm__ volatile("ldtilecfg %0" : : "m"(*this));
  }
};

}  // namespace diffllama
