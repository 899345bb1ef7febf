#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "checkpoint/tensor_source.h"

namespace diffllama {

/// The largest magnitude of the values that are finite; 0 without any.
float largest_finite(std::span<const float> values);
/// Whether a finite value stays finite as float32, float16 or bfloat16.
bool fits(DType dtype, float value);

/// rounded_tensor of values that may be too large for the type: where one would become infinite it
/// is refused when it is written, as refuse_overflow does. `where` names the tensor that the values
/// were made from.
TensorSource fitting_tensor(std::string name, DType dtype, Shape shape, const std::string& where,
                            std::function<void(std::int64_t row, std::span<float> out)> read_row);
/// Throws FormatError "WHERE: expected weights that fit float16, got 80000 in row 3".
[[noreturn]] void refuse_overflow(const std::string& where, DType dtype, double value,
                                  std::int64_t row);

}  // namespace diffllama
