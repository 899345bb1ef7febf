#include "tokenizer/json_fields.h"

#include "base/json.h"
#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {

using nlohmann::json;

void JsonField::refuse(const std::string& expected) const {
  throw FormatError(where_ + ": expected " + expected + ", got " + json_excerpt(value_));
}

JsonField JsonField::at(const char* key) const {
  static const json kNull;
  if (!value_.is_object()) refuse("an object");
  const auto found = value_.find(key);
  // The file's own name ends in ": "; members are joined by dots.
  const std::string joint = where_.size() >= 2 && where_.ends_with(": ") ? "" : ".";
  return {found == value_.end() ? kNull : *found, where_ + joint + key};
}

JsonField JsonField::at(std::size_t index) const {
  return {value_[index], where_ + "[" + std::to_string(index) + "]"};
}

std::size_t JsonField::array_size() const {
  if (!value_.is_array()) refuse("an array");
  return value_.size();
}

bool JsonField::as_bool(std::optional<bool> absent) const {
  if (is_null() && absent) return *absent;
  if (!value_.is_boolean()) refuse("true or false");
  return value_.get<bool>();
}

std::string JsonField::as_string(std::optional<std::string> absent) const {
  if (is_null() && absent) return *absent;
  if (!value_.is_string()) refuse("a string");
  return value_.get<std::string>();
}

std::int64_t JsonField::as_index(std::int64_t limit) const {
  const bool negative =
      value_.is_number_integer() && !value_.is_number_unsigned() && value_.get<std::int64_t>() < 0;
  if (!value_.is_number_integer() || negative ||
      value_.get<std::uint64_t>() >= std::uint64_t(limit)) {
    refuse("an integer from 0 to " + std::to_string(limit - 1));
  }
  return value_.get<std::int64_t>();
}

std::string JsonField::as_character() const {
  std::string text = as_string();
  if (count_code_points(text) != 1) refuse("a string of one character");
  return text;
}

std::string JsonField::type() const {
  if (!value_.is_object()) refuse("an object with a type");
  return at("type").as_string();
}

}  // namespace diffllama
