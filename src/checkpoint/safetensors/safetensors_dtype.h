#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "diffllama/tensor.h"

namespace diffllama {

/// A dtype of the safetensors format.
struct SafetensorsDType {
  std::string_view name;  // as headers have it
  std::uint32_t bits;     // of an element
  /// Nothing: a tensor of it is known by name and shape, and its values are not read.
  std::optional<DType> dtype;
};

/// All of them; those with a DType in the order in which the safetensors library lays tensors out.
inline constexpr std::array<SafetensorsDType, 22> kSafetensorsDTypes = {{
    {"I64", 64, DType::int64},        {"F64", 64, DType::float64},
    {"F32", 32, DType::float32},      {"I32", 32, DType::int32},
    {"BF16", 16, DType::bfloat16},    {"F16", 16, DType::float16},
    {"I16", 16, DType::int16},        {"I8", 8, DType::int8},
    {"U8", 8, DType::uint8},          {"BOOL", 8, DType::boolean},
    {"C64", 64, std::nullopt},        {"U64", 64, std::nullopt},
    {"U32", 32, std::nullopt},        {"U16", 16, std::nullopt},
    {"F8_E4M3", 8, std::nullopt},     {"F8_E5M2", 8, std::nullopt},
    {"F8_E8M0", 8, std::nullopt},     {"F8_E4M3FNUZ", 8, std::nullopt},
    {"F8_E5M2FNUZ", 8, std::nullopt}, {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt},     {"F4", 4, std::nullopt},
}};

/// Null for a name that the format does not have.
inline const SafetensorsDType* find_safetensors_dtype(std::string_view name) {
  for (const SafetensorsDType& type : kSafetensorsDTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

/// "I64, F64, ..."
inline std::string safetensors_dtype_list() {
  std::string list;
  for (const SafetensorsDType& type : kSafetensorsDTypes) {
    list += (list.empty() ? "" : ", ") + std::string(type.name);
  }
  return list;
}

}  // namespace diffllama
