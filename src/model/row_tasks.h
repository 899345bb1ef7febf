#pragma once

#include <algorithm>
#include <cstdint>

#include "base/buffer.h"
#include "base/parallel.h"

namespace diffllama {

/// body(row) for every row, a few rows to a task.
template <class Body>
void for_each_row(std::int64_t rows, const Parallel& parallel, const Body& body) {
  constexpr std::int64_t kRowsPerTask = 8;
  parallel.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::int64_t row = task * kRowsPerTask; row < end; ++row) body(row);
  });
}

inline float* reserve_rows(Buffer<float>& buffer, std::int64_t rows, std::int64_t columns) {
  return buffer.reserve(static_cast<std::size_t>(rows * columns));
}

}  // namespace diffllama
