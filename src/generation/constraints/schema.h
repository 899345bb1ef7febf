#pragma once

#include <cstdint>
#include <deque>
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
  /// The first place of a value, "#/properties/a"; of a long one the end.
  std::string path(Id id) const;
  /// What the schema's $ref points to.
  const SchemaJson& target(const SchemaJson& schema) const;
  /// Checks the keywords of one schema: throws InvalidArgument that names the path of one that is
  /// not supported, or has a value that is not allowed.
  void check(const SchemaJson& schema);

  // Numbers as the document writes them: a double would make others of long ones. Values from
  // elsewhere are taken as they are.
  std::string number_text(const SchemaJson& value) const;
  Decimal decimal(const SchemaJson& value) const { return Decimal::of(number_text(value)); }
  /// Adds the schema's bounds.
  void add_number_bounds(const SchemaJson& schema, NumberBounds& bounds) const;
  /// The type bits that a value satisfies.
  unsigned value_types(const SchemaJson& value) const;
  /// The same text for equal values: 1 and 1.0, objects in any order.
  std::string value_key(const SchemaJson& value) const;

  [[noreturn]] void fail(const SchemaJson& schema, const std::string& keyword,
                         const std::string& expected) const;

 private:
  // One step of a path: the member's name, or the item's number.
  struct Place {
    const Place* above = nullptr;
    const std::string* name = nullptr;
    std::size_t item = 0;
  };
  Id number(const SchemaJson& value, const Place* place);
  void read_number_texts(std::string_view text);
  const SchemaJson* named_place(std::string_view reference, const SchemaJson& schema) const;

  std::string where_;
  SchemaJson root_;
  std::unordered_map<const SchemaJson*, Id> ids_;
  std::vector<const SchemaJson*> values_;
  std::deque<Place> places_;
  std::vector<const Place*> paths_;
  std::unordered_map<const SchemaJson*, std::string> number_texts_;  // of what JSON makes a double
  std::unordered_multimap<std::string, const SchemaJson*> anchors_;
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
/// A keyword's integer, or `absent`.
std::int64_t schema_count(const SchemaJson& schema, const char* keyword, std::int64_t absent);
/// The keyword's value, or nothing.
const SchemaJson* schema_keyword(const SchemaJson& schema, const char* keyword);

}  // namespace diffllama
