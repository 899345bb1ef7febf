#pragma once

#include <optional>

#include "generation/constraints/decimal.h"
#include "generation/constraints/grammar.h"

namespace diffllama {

/// What a number must be.
struct NumberBounds {
  bool integer = false;
  std::optional<Decimal> least, most;
  bool above_least = false, below_most = false;  // the bound itself is not allowed

  /// Keeps the narrower of two bounds.
  void at_least(const Decimal& value, bool above);
  void at_most(const Decimal& value, bool below);
  bool holds(const Decimal& value) const;
};

/// Numbers within the bounds, as JSON writes them: without bounds up to 15 digits before and after
/// the point and an exponent of two digits; with bounds no exponent, and no more digits than tell
/// every number from its neighbours as a double (15). Nothing matches where no such number is
/// within the bounds.
Grammar::Expression json_number(Grammar& grammar, const NumberBounds& bounds);

}  // namespace diffllama
