#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "generation/constraints/automaton.h"
#include "generation/constraints/schema.h"

namespace diffllama {

/// Whether values satisfy schemas of a document: what an enum is held against, and how two schemas
/// are told apart.
class SchemaValidator {
 public:
  /// What it does counts as steps of `grammar`.
  SchemaValidator(SchemaDocument& document, Grammar& grammar)
      : document_(document), grammar_(grammar) {}

  /// Throws InvalidArgument for schemas that are not supported, or refer to themselves without end.
  bool holds(const SchemaJson& schema, const SchemaJson& value);

  /// Whether a text matches what "pattern" asks for.
  bool matches(const std::string& pattern, const std::string& text, bool search);

 private:
  bool holds_here(const SchemaJson& schema, const SchemaJson& value);
  bool holds_string(const SchemaJson& schema, const std::string& text);
  bool holds_array(const SchemaJson& schema, const SchemaJson& value);
  bool holds_object(const SchemaJson& schema, const SchemaJson& value);

  /// The keys of a list's values (SchemaDocument::value_key).
  const std::unordered_set<std::string>& keys_of(const SchemaJson& list);

  struct Pattern {
    ByteGraph graph;
    std::unique_ptr<Automaton> automaton;
  };
  Pattern& compiled(const std::string& pattern, bool search);

  SchemaDocument& document_;
  Grammar& grammar_;
  std::unordered_map<SchemaDocument::Id, std::unordered_set<std::string>> keys_;
  std::map<std::pair<std::string, bool>, Pattern> patterns_;
  int depth_ = 0;
};

/// The regular expression of a "format", or nothing for one that is not supported.
std::optional<std::string> format_regex(std::string_view format);
inline constexpr const char* kFormats = "one of the formats date, time, date-time, uuid, email";

}  // namespace diffllama
