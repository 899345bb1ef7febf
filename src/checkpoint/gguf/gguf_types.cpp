#include "checkpoint/gguf/gguf_types.h"

#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace diffllama {
namespace {

struct TypeInfo {
  std::string_view name;
  std::size_t bytes;
};

// Indexed by GgufType.
constexpr std::array<TypeInfo, 13> kTypes = {{{"uint8", 1},
                                              {"int8", 1},
                                              {"uint16", 2},
                                              {"int16", 2},
                                              {"uint32", 4},
                                              {"int32", 4},
                                              {"float32", 4},
                                              {"bool", 1},
                                              {"string", 0},
                                              {"array", 0},
                                              {"uint64", 8},
                                              {"int64", 8},
                                              {"float64", 8}}};

// Indexed by ggml's type numbers; empty ones were removed from the format.
constexpr std::array<std::string_view, 42> kTensorTypes = {
    "F32",     "F16",   "Q4_0",   "Q4_1",  "",      "",       "Q5_0", "Q5_1",    "Q8_0",
    "Q8_1",    "Q2_K",  "Q3_K",   "Q4_K",  "Q5_K",  "Q6_K",   "Q8_K", "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",   "I16",     "I32",
    "I64",     "F64",   "IQ1_M",  "BF16",  "",      "",       "",     "TQ1_0",   "TQ2_0",
    "",        "",      "",       "MXFP4", "NVFP4", "Q1_0"};

// What this engine reads and writes, by ggml's type numbers.
constexpr std::array<std::pair<DType, std::uint32_t>, 11> kReadTypes = {{{DType::float32, 0},
                                                                         {DType::float16, 1},
                                                                         {DType::bfloat16, 30},
                                                                         {DType::q8_0, 8},
                                                                         {DType::q4_0, 2},
                                                                         {DType::q4_1, 3},
                                                                         {DType::q5_0, 6},
                                                                         {DType::q5_1, 7},
                                                                         {DType::q4_k, 12},
                                                                         {DType::q5_k, 13},
                                                                         {DType::q6_k, 14}}};

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

std::string gguf_type_name(GgufType type) {
  const auto index = static_cast<std::size_t>(type);
  if (index < kTypes.size()) return std::string(kTypes[index].name);
  return "unknown type " + std::to_string(index);
}

std::size_t gguf_type_bytes(GgufType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kTypes.size() ? kTypes[index].bytes : 0;
}

bool is_gguf_float(GgufType type) { return type == GgufType::float32 || type == GgufType::float64; }

bool is_gguf_integer(GgufType type) {
  return gguf_type_bytes(type) != 0 && !is_gguf_float(type) && type != GgufType::boolean;
}

std::optional<std::int64_t> gguf_integer(GgufType type, const std::byte* bytes) {
  switch (type) {
    case GgufType::uint8:
      return load<std::uint8_t>(bytes);
    case GgufType::int8:
      return load<std::int8_t>(bytes);
    case GgufType::uint16:
      return load<std::uint16_t>(bytes);
    case GgufType::int16:
      return load<std::int16_t>(bytes);
    case GgufType::uint32:
      return load<std::uint32_t>(bytes);
    case GgufType::int32:
      return load<std::int32_t>(bytes);
    case GgufType::int64:
      return load<std::int64_t>(bytes);
    default: {
      const auto value = load<std::uint64_t>(bytes);
      if (!std::in_range<std::int64_t>(value)) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
  }
}

double gguf_number(GgufType type, const std::byte* bytes) {
  return type == GgufType::float32 ? double{load<float>(bytes)} : load<double>(bytes);
}

std::optional<DType> gguf_tensor_dtype(std::uint32_t type) {
  for (const auto& [dtype, number] : kReadTypes) {
    if (number == type) return dtype;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> gguf_tensor_type(DType dtype) {
  for (const auto& [known, number] : kReadTypes) {
    if (known == dtype) return number;
  }
  return std::nullopt;
}

std::string gguf_tensor_type_list() {
  std::string list;
  for (const auto& [dtype, number] : kReadTypes) {
    list += (list.empty() ? "" : ", ") + gguf_tensor_type_name(number);
  }
  return list;
}

std::string gguf_tensor_type_name(std::uint32_t type) {
  if (type < kTensorTypes.size() && !kTensorTypes[type].empty()) {
    return std::string(kTensorTypes[type]);
  }
  return "unknown type " + std::to_string(type);
}

}  // namespace diffllama
