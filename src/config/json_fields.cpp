#include "config/json_fields.h"

#include <cmath>
#include <limits>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr const char* kInteger = "an integer from -2^63 to 2^63-1";
constexpr const char* kNumber = "a number";
constexpr std::size_t kLongestField = 120;  // a key of a file may have any length

bool is_int64(const json& value) {
  if (value.is_number_unsigned()) {
    return value.get<std::uint64_t>() <=
           static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  }
  return value.is_number_integer();
}

}  // namespace

void reject_field(const std::string& where, std::string_view field, const std::string& expected,
                  const std::string& found) {
  throw ConfigError(where + ": " + shortened(field, kLongestField) + ": expected " + expected +
                    ", got " + found);
}

std::string number_text(double value) {
  return std::isfinite(value) ? json(value).dump() : std::to_string(value);
}
std::string number_text(std::int64_t value) { return std::to_string(value); }

JsonFields::JsonFields(const json& object, std::string where)
    : object_(object), where_(std::move(where)) {}

void JsonFields::reject(const char* field, const std::string& expected) const {
  const auto found = object_.find(field);
  reject_field(where_, field, expected,
               found == object_.end() ? "no such field" : json_excerpt(*found));
}

const json* JsonFields::find(const char* field) const {
  const auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::read(const char* field, std::int64_t& value) const {
  const auto found = object_.find(field);
  if (found == object_.end()) return;
  if (!is_int64(*found)) reject(field, kInteger);
  value = found->get<std::int64_t>();
}

void JsonFields::read(const char* field, double& value) const {
  const auto found = object_.find(field);
  if (found == object_.end()) return;
  if (!found->is_number()) reject(field, kNumber);
  value = found->get<double>();
}

void JsonFields::read(const char* field, bool& value) const {
  const auto found = object_.find(field);
  if (found == object_.end()) return;
  if (!found->is_boolean()) reject(field, "true or false");
  value = found->get<bool>();
}

void JsonFields::read(const char* field, std::optional<std::int64_t>& value) const {
  const auto found = object_.find(field);
  if (found == object_.end()) return;
  if (found->is_null()) {
    value.reset();
    return;
  }
  if (!is_int64(*found)) reject(field, std::string(kInteger) + ", or null");
  value = found->get<std::int64_t>();
}

void JsonFields::read(const char* field, std::optional<double>& value) const {
  const auto found = object_.find(field);
  if (found == object_.end()) return;
  if (found->is_null()) {
    value.reset();
    return;
  }
  if (!found->is_number()) reject(field, std::string(kNumber) + ", or null");
  value = found->get<double>();
}

std::optional<std::string> JsonFields::text(const char* field) const {
  const json* found = find(field);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) reject(field, "a string");
  return found->get<std::string>();
}

void JsonFields::read_integers(const char* field, std::vector<std::int64_t>& values) const {
  const auto found = object_.find(field);
  if (found == object_.end()) return;
  std::vector<std::int64_t> integers;
  const auto add = [&](const json& value) {
    if (!is_int64(value)) reject(field, "an integer, a list of integers, or null");
    integers.push_back(value.get<std::int64_t>());
  };
  if (found->is_array()) {
    for (const json& value : *found) add(value);
  } else if (!found->is_null()) {
    add(*found);
  }
  values = std::move(integers);
}

const json* JsonFields::find_object(const char* field) const {
  const json* found = find(field);
  if (found == nullptr) return nullptr;
  if (!found->is_object()) reject(field, "an object, or null");
  return found->empty() ? nullptr : found;
}

}  // namespace diffllama
