#pragma once

#include <compare>
#include <string>
#include <utility>
#include <vector>

#include "generation/constraints/schema_validator.h"

namespace diffllama {

/// Schemas that must all hold, taken apart: `parts` ask for what can be put together, of each group
/// (a schema's anyOf or oneOf) one branch is still to be chosen.
struct Conjunction {
  using Id = SchemaDocument::Id;
  std::vector<Id> parts;
  std::vector<std::pair<Id, bool>> groups;  // a list of branches; whether one alone may hold
  std::vector<std::string> absent;          // names that an object must not have
  bool never = false;

  auto operator<=>(const Conjunction&) const =
      default;  // NOLINT(modernize-use-nullptr): clang-tidy 14
};

/// The values that schemas list (const, enum), as JSON texts. Those of many schemas may be gathered
/// first: they become one expression that is no longer than they are.
class SchemaLiterals {
 public:
  SchemaLiterals(Grammar& grammar, SchemaDocument& document, SchemaValidator& validator)
      : grammar_(grammar), document_(document), validator_(validator) {}

  struct Gathered {
    std::vector<std::string> texts = {};           // of numbers, strings, ...
    std::vector<Grammar::Expression> others = {};  // arrays, objects, and what a caller adds
  };
  /// The schema among those that must hold which lists values, or nothing.
  const SchemaJson* lister(const Conjunction& whole) const;
  /// Gathers those of `lister`'s values that satisfy everything else.
  void gather(const Conjunction& whole, const SchemaJson& lister, Gathered& gathered);
  /// One of them.
  Grammar::Expression any_of(Gathered gathered);

 private:
  bool holds(const Conjunction& whole, const SchemaJson& value);
  std::string scalar(const SchemaJson& value) const;
  Grammar::Expression literal(const SchemaJson& value);

  Grammar& grammar_;
  SchemaDocument& document_;
  SchemaValidator& validator_;
};

}  // namespace diffllama
