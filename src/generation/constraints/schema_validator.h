#pragma once

#include <string>
#include <unordered_map>

#include "generation/constraints/schema.h"

namespace diffllama {

/// Whether values satisfy schemas of a document: what an enum is held against, and how two schemas
/// are told apart.
class SchemaValidator {
 public:
  SchemaValidator(SchemaDocument& document, const ConstraintLimits& limits, std::string where)
      : document_(document), limits_(limits), where_(std::move(where)) {}

  /// Throws InvalidArgument for schemas that are not supported, or refer to themselves without end.
  bool holds(const SchemaJson& schema, const SchemaJson& value);

  /// Whether a text matches what "pattern" asks for.
  bool matches(const std::string& pattern, const std::string& text, bool search);

 private:
  bool holds_here(const SchemaJson& schema, const SchemaJson& value);
  bool holds_string(const SchemaJson& schema, const std::string& text);
  bool holds_array(const SchemaJson& schema, const SchemaJson& value);
  bool holds_object(const SchemaJson& schema, const SchemaJson& value);

  SchemaDocument& document_;
  ConstraintLimits limits_;
  std::string where_;
  int depth_ = 0;
};

/// The regular expression of a "format", or nothing for one that is not supported.
std::optional<std::string> format_regex(std::string_view format);
inline constexpr const char* kFormats = "one of the formats date, time, date-time, uuid, email";

}  // namespace diffllama
