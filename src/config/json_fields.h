#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace diffllama {

/// Throws ConfigError "WHERE: FIELD: expected EXPECTED, got FOUND".
[[noreturn]] void reject_field(const std::string& where, std::string_view field,
                               const std::string& expected, const std::string& found);

/// A number as an error message shows it: the shortest text that reads back as the same value.
std::string number_text(double value);
std::string number_text(std::int64_t value);

/// Typed access to the fields of one JSON object. A field of a wrong type is a ConfigError that
/// starts with `where`, the file and the way to the object ("config.json: rope_parameters").
/// `object` must outlive this.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string where);

  const std::string& where() const { return where_; }
  const nlohmann::json& object() const { return object_; }
  bool contains(const char* field) const { return object_.contains(field); }
  /// The value, or nothing when the field is absent or null.
  const nlohmann::json* find(const char* field) const;

  /// Sets `value` when the field is there; a null is refused.
  void read(const char* field, std::int64_t& value) const;
  void read(const char* field, double& value) const;
  void read(const char* field, bool& value) const;
  /// Sets `value` when the field is there; a null empties it.
  void read(const char* field, std::optional<std::int64_t>& value) const;
  void read(const char* field, std::optional<double>& value) const;
  /// The text, or nothing when the field is absent or null.
  std::optional<std::string> text(const char* field) const;
  /// One integer or a list of them; null gives none.
  void read_integers(const char* field, std::vector<std::int64_t>& values) const;
  /// The object, or nothing when the field is absent, null or empty.
  const nlohmann::json* find_object(const char* field) const;

  [[noreturn]] void reject(const char* field, const std::string& expected) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace diffllama
