#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "generation/constraints/schema_validator.h"

namespace diffllama {

/// Tells whether two branches of a oneOf can hold for one value. It sees types, const and enum,
/// bounds of numbers and lengths, and required properties whose schemas exclude each other; where
/// it does not know, it says that both may hold.
class SchemaExclusion {
 public:
  SchemaExclusion(SchemaDocument& document, SchemaValidator& validator)
      : document_(document), validator_(validator) {}

  /// No value of these types satisfies both.
  bool excludes(const SchemaJson& a, const SchemaJson& b, unsigned types = kAnyType);
  /// A property without which no value of these types that satisfies `a` satisfies `b`, and that
  /// `a` does not require.
  std::optional<std::string> missing_name(const SchemaJson& a, const SchemaJson& b, unsigned types);

 private:
  using Flat = std::vector<const SchemaJson*>;  // schemas without references and groups, all of
                                                // which hold
  /// The ways in which a schema can hold; one that holds always where it is not known.
  std::vector<Flat> ways(const SchemaJson& schema);
  void expand(const SchemaJson& schema, std::vector<Flat>& ways, int depth);
  /// Those of `types` whose values may satisfy both.
  unsigned common_types(const Flat& a, const Flat& b, unsigned types);
  bool lists_exclude(const Flat& lister, const Flat& other);
  bool objects_exclude(const Flat& a, const Flat& b);

  SchemaDocument& document_;
  SchemaValidator& validator_;
  std::map<std::tuple<SchemaDocument::Id, SchemaDocument::Id, unsigned>, bool> known_;
  int depth_ = 0;
};

}  // namespace diffllama
