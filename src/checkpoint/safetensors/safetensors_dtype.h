#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "diffllama/tensor.h"

namespace diffllama {

/// dtypes as safetensors headers name them, in the order in which the safetensors library lays
/// tensors out.
inline constexpr std::array<std::pair<DType, std::string_view>, 10> kSafetensorsDTypes = {{
    {DType::int64, "I64"},
    {DType::float64, "F64"},
    {DType::float32, "F32"},
    {DType::int32, "I32"},
    {DType::bfloat16, "BF16"},
    {DType::float16, "F16"},
    {DType::int16, "I16"},
    {DType::int8, "I8"},
    {DType::uint8, "U8"},
    {DType::boolean, "BOOL"},
}};

inline std::optional<DType> safetensors_dtype(std::string_view name) {
  for (const auto& [dtype, text] : kSafetensorsDTypes) {
    if (text == name) return dtype;
  }
  return std::nullopt;
}

/// "I64, F64, ..."
inline std::string safetensors_dtype_list() {
  std::string list;
  for (const auto& [dtype, text] : kSafetensorsDTypes) {
    list += (list.empty() ? "" : ", ") + std::string(text);
  }
  return list;
}

}  // namespace diffllama
