#pragma once

#include <cstdint>
#include <vector>

#include "generation/constraints/grammar.h"

namespace diffllama {

/// What a JSON string must be.
struct StringBounds {
  std::int64_t least = 0, most = Grammar::kUnbounded;  // characters
  /// Languages of the decoded text, of all of which it must be; without references to rules.
  std::vector<Grammar::Expression> texts;
};

/// JSON strings within the bounds. Where there are `texts` only what must be escaped is. Throws
/// InvalidArgument where bounds and texts together take more steps than the grammar's limits.
Grammar::Expression json_string_within(Grammar& grammar, const StringBounds& bounds);

}  // namespace diffllama
