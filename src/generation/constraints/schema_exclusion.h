#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "generation/constraints/schema_validator.h"

namespace diffllama {

/// Tells whether two branches of a oneOf can hold for one value. It sees types, const and enum,
/// bounds of numbers and lengths, and required properties whose schemas exclude each other; where
/// it does not know, it says that both may hold.
class SchemaExclusion {
 public:
  /// What it does counts as steps of `grammar`.
  SchemaExclusion(SchemaDocument& document, SchemaValidator& validator, Grammar& grammar)
      : document_(document), validator_(validator), grammar_(grammar) {}

  /// Branches of a oneOf by what tells many of them apart at once: each group has the branches that
  /// list values, of their own or of one property that objects must have.
  struct Branches {
    static constexpr int kOthers = 0, kValues = 1, kProperty = 2, kGroups = 3;
    std::vector<int> group;                        // by branch
    std::vector<std::vector<std::string>> values;  // by branch, as keys
    // By group: the branches that list a value, and those that are not of the group.
    std::array<std::unordered_map<std::string, std::vector<std::size_t>>, kGroups> with_value;
    std::array<std::vector<std::size_t>, kGroups> outside;
  };
  Branches sort(const SchemaJson& branches);
  /// The branches that a value of the i-th, of these types, may satisfy as far as the groups tell;
  /// ascending.
  static std::vector<std::size_t> rivals(const Branches& branches, std::size_t i, unsigned types);

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
  std::vector<const SchemaJson*> property_schemas(const Flat& schemas, const std::string& name);
  using Keys = std::vector<std::string>;
  /// The keys of the values that a schema has at most, where it lists them.
  std::optional<Keys> listed(const SchemaJson& schema);
  std::optional<Keys> listed(const Flat& way) const;
  /// Those of each property that an object must have.
  std::map<std::string, Keys> listed_properties(const SchemaJson& schema);

  SchemaDocument& document_;
  SchemaValidator& validator_;
  Grammar& grammar_;
  std::map<std::tuple<SchemaDocument::Id, SchemaDocument::Id, unsigned>, bool> known_;
  int depth_ = 0;
};

}  // namespace diffllama
