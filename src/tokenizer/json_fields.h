#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace diffllama {

/// A value of tokenizer.json with the place it has there, such as "tokenizer.json:
/// pre_tokenizer.pretokenizers[1]"; what it lacks is a FormatError that names that place.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, std::string where)
      : value_(value), where_(std::move(where)) {}

  const nlohmann::json& value() const { return value_; }
  const std::string& where() const { return where_; }

  /// A member of this object, or null (a JSON null) when it is absent.
  JsonField at(const char* key) const;
  /// An element of this array.
  JsonField at(std::size_t index) const;
  /// The array's size; the value must be an array.
  std::size_t array_size() const;
  bool is_null() const { return value_.is_null(); }

  /// The value as a type; null or absent gives `absent` where there is one.
  bool as_bool(std::optional<bool> absent = {}) const;
  std::string as_string(std::optional<std::string> absent = {}) const;
  /// An integer in [0, limit).
  std::int64_t as_index(std::int64_t limit) const;
  /// A string of one character.
  std::string as_character() const;
  /// The "type" of this object.
  std::string type() const;

  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  const nlohmann::json& value_;
  std::string where_;
};

}  // namespace diffllama
