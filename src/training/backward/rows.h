#pragma once

#include <cstdint>

namespace diffllama {

/// Rows of float32, one after the other.
struct Rows {
  const float* data;
  std::int64_t rows;
  std::int64_t columns;
};

}  // namespace diffllama
