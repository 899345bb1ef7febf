#include "checkpoint/gguf/gguf.h"

#include <cstring>
#include <utility>

#include "base/json.h"
#include "checkpoint/gguf/gguf_types.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// A list takes more memory than its bytes in the file; vocabularies are the longest that are read.
constexpr std::uint64_t kMaxListed = 1'000'000;

bool is_string(GgufType type) { return type == GgufType::string; }
bool is_boolean(GgufType type) { return type == GgufType::boolean; }

std::string describe(const GgufValue& value) {
  const std::string type = gguf_type_name(value.type);
  return value.is_array ? "an array of " + std::to_string(value.count) + " " + type : "a " + type;
}

std::string_view take_text(std::span<const std::byte>& bytes) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  bytes = bytes.subspan(sizeof length + length);
  return text;
}

}  // namespace

void GgufFile::refuse(std::string_view key, const std::string& expected,
                      const std::string& found) const {
  throw FormatError(where_ + ": key " + json_excerpt(nlohmann::json(std::string(key))) +
                    ": expected " + expected + ", got " + found);
}

const GgufValue* GgufFile::scalar(std::string_view key, const char* expected,
                                  bool (*accepts)(GgufType)) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return nullptr;
  const GgufValue& value = found->second;
  if (value.is_array || !accepts(value.type)) refuse(key, expected, describe(value));
  return &value;
}

const GgufValue* GgufFile::list(std::string_view key, const char* expected,
                                bool (*accepts)(GgufType)) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return nullptr;
  const GgufValue& value = found->second;
  if (!value.is_array || !accepts(value.type)) refuse(key, expected, describe(value));
  if (value.count > kMaxListed) {
    refuse(key, "at most " + std::to_string(kMaxListed) + " elements", describe(value));
  }
  return &value;
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key) const {
  const GgufValue* value = scalar(key, "an integer", is_gguf_integer);
  if (value == nullptr) return std::nullopt;
  const auto number = gguf_integer(value->type, value->bytes.data());
  if (!number) refuse(key, "an integer up to 2^63-1", "a larger one");
  return number;
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const GgufValue* value = scalar(key, "a float32 or float64", is_gguf_float);
  if (value == nullptr) return std::nullopt;
  return gguf_number(value->type, value->bytes.data());
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const GgufValue* value = scalar(key, "a bool", is_boolean);
  if (value == nullptr) return std::nullopt;
  const int number = std::to_integer<int>(value->bytes[0]);
  if (number > 1) refuse(key, "a bool of 0 or 1", std::to_string(number));
  return number == 1;
}

std::optional<std::string_view> GgufFile::text(std::string_view key) const {
  const GgufValue* value = scalar(key, "a string", is_string);
  if (value == nullptr) return std::nullopt;
  auto bytes = value->bytes;
  return take_text(bytes);
}

std::uint64_t GgufFile::array_size(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return 0;
  if (!found->second.is_array) refuse(key, "an array", describe(found->second));
  return found->second.count;
}

std::vector<std::string_view> GgufFile::texts(std::string_view key) const {
  std::vector<std::string_view> texts;
  const GgufValue* value = list(key, "an array of strings", is_string);
  if (value == nullptr) return texts;
  texts.reserve(value->count);
  auto bytes = value->bytes;
  while (!bytes.empty()) texts.push_back(take_text(bytes));
  return texts;
}

std::vector<std::int64_t> GgufFile::integers(std::string_view key) const {
  std::vector<std::int64_t> integers;
  const GgufValue* value = list(key, "an array of integers", is_gguf_integer);
  if (value == nullptr) return integers;
  integers.reserve(value->count);
  const std::size_t size = gguf_type_bytes(value->type);
  for (std::uint64_t i = 0; i < value->count; ++i) {
    const auto number = gguf_integer(value->type, value->bytes.data() + i * size);
    if (!number) refuse(key, "integers up to 2^63-1", "a larger one");
    integers.push_back(*number);
  }
  return integers;
}

std::optional<std::int64_t> GgufFile::layer_size(std::string_view key, std::int64_t layers) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end() || !found->second.is_array) return integer(key);
  const GgufValue& value = found->second;
  const std::string expected =
      "an integer, or a list of int32 or uint32 with one entry for each of the " +
      std::to_string(layers) + " layers, all equal";
  const bool fits = value.type == GgufType::int32 || value.type == GgufType::uint32;
  if (!fits || value.count == 0 || std::cmp_not_equal(value.count, layers)) {
    refuse(key, expected, describe(value));
  }
  const std::size_t size = gguf_type_bytes(value.type);
  const auto first = gguf_integer(value.type, value.bytes.data());
  for (std::uint64_t i = 1; i < value.count; ++i) {
    const auto number = gguf_integer(value.type, value.bytes.data() + i * size);
    if (number != first) {
      refuse(key, expected,
             std::to_string(*first) + " for layer 0 and " + std::to_string(*number) +
                 " for layer " + std::to_string(i));
    }
  }
  return first;
}

std::vector<double> GgufFile::numbers(std::string_view key) const {
  std::vector<double> numbers;
  const GgufValue* value = list(key, "an array of float32 or float64", is_gguf_float);
  if (value == nullptr) return numbers;
  numbers.reserve(value->count);
  const std::size_t size = gguf_type_bytes(value->type);
  for (std::uint64_t i = 0; i < value->count; ++i) {
    numbers.push_back(gguf_number(value->type, value->bytes.data() + i * size));
  }
  return numbers;
}

}  // namespace diffllama
