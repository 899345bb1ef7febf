#include "checkpoint/fitting_tensor.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <utility>

#include "checkpoint/codec/row_codec.h"
#include "config/json_fields.h"
#include "diffllama/error.h"

namespace diffllama {

float largest_finite(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

bool fits(DType dtype, float value) {
  assert(block_elements(dtype) == 1);
  std::array<std::byte, sizeof(float)> bytes{};
  const std::span<std::byte> stored(bytes.data(), block_bytes(dtype));
  encode_row(dtype, {&value, 1}, stored);
  float back = 0;
  decode_row(dtype, stored, {&back, 1});
  return std::isfinite(back);
}

TensorSource fitting_tensor(std::string name, DType dtype, Shape shape, const std::string& where,
                            std::function<void(std::int64_t row, std::span<float> out)> read_row) {
  return rounded_tensor(
      std::move(name), dtype, std::move(shape),
      [dtype, where, read_row = std::move(read_row)](std::int64_t row, std::span<float> out) {
        read_row(row, out);
        const float largest = largest_finite(out);
        if (!fits(dtype, largest)) refuse_overflow(where, dtype, largest, row);
      });
}

void refuse_overflow(const std::string& where, DType dtype, double value, std::int64_t row) {
  throw FormatError(where + ": expected weights that fit " + std::string(dtype_name(dtype)) +
                    ", got " + number_text(value) + " in row " + std::to_string(row));
}

}  // namespace diffllama
