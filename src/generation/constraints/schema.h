#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "generation/constraints/json_number.h"

namespace diffllama {

using SchemaJson = nlohmann::ordered_json;

/// A JSON schema as it stands in a document: checked to ask for nothing that is not supported, and
/// with a number that equal schemas share.
class SchemaDocument {
 public:
  using Id = std::uint32_t;

  /// `where` begins every message. Throws InvalidArgument for what is no JSON or no schema.
  SchemaDocument(std::string_view text, std::string where);

  const SchemaJson& root() const { return root_; }
  /// The number of a value of the document; equal values have the same.
  Id id(const SchemaJson& value) const { return ids_.at(&value); }
  const SchemaJson& value(Id id) const { return *values_[id]; }
  /// The first place of a value, "#/properties/a".
  const std::string& path(Id id) const { return paths_[id]; }
  /// What the schema's $ref points to.
  const SchemaJson& target(const SchemaJson& schema) const;
  /// Checks the keywords of one schema: throws InvalidArgument that names the path of one that is
  /// not supported, or has a value that is not allowed.
  void check(const SchemaJson& schema);

  [[noreturn]] void fail(const SchemaJson& schema, const std::string& keyword,
                         const std::string& expected) const;

 private:
  Id number(const SchemaJson& value, std::string path);

  std::string where_;
  SchemaJson root_;
  std::unordered_map<const SchemaJson*, Id> ids_;
  std::vector<const SchemaJson*> values_;
  std::vector<std::string> paths_;
  std::unordered_map<std::string, Id> known_;
  std::vector<bool> checked_;
};

// The type names of JSON Schema, one bit each.
inline constexpr unsigned kNull = 1;
inline constexpr unsigned kBoolean = 2;
inline constexpr unsigned kInteger = 4;
inline constexpr unsigned kNumber = 8;  // with kInteger: any number
inline constexpr unsigned kString = 16;
inline constexpr unsigned kArray = 32;
inline constexpr unsigned kObject = 64;
inline constexpr unsigned kAnyType = 127;

/// The bits of the schema's "type"; all without one.
unsigned schema_types(const SchemaJson& schema);
/// The type bits that a value satisfies.
unsigned value_types(const SchemaJson& value);
/// Adds the schema's bounds.
void add_number_bounds(const SchemaJson& schema, NumberBounds& bounds);
/// A keyword's integer, or `absent`.
std::int64_t schema_count(const SchemaJson& schema, const char* keyword, std::int64_t absent);
/// The keyword's value, or nothing.
const SchemaJson* schema_keyword(const SchemaJson& schema, const char* keyword);

}  // namespace diffllama
