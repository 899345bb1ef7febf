#pragma once

#include <string_view>

#include "generation/constraints/grammar.h"

namespace diffllama {

/// The language of a regular expression in the syntax of ECMA-262 with its u flag, as JSON Schema
/// uses it: literals, ., classes, \d \w \s and their opposites, \p{General_Category}, groups,
/// alternatives, greedy and lazy quantifiers, ^ and $ at the ends. What is no regular language or
/// looks around (backreferences, lookahead, \b) is refused. Of what \d, \w, \s and their opposites
/// stand for, that on which ECMA-262 and Python's re agree.
///
/// The whole text matches; with `search` a part of it is enough, where ^ and $ say nothing else.
/// Throws InvalidArgument that says where in the expression it fell over.
Grammar::Expression parse_regex(Grammar& grammar, std::string_view regex, bool search);

}  // namespace diffllama
