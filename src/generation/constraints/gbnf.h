#pragma once

#include <string_view>

#include "generation/constraints/grammar.h"

namespace diffllama {

/// Reads a grammar in GBNF, the notation of llama.cpp: rules `name ::= ...` of literals, character
/// classes, ., groups, alternatives, and the quantifiers * + ? {n} {n,} {n,m}; # begins a comment.
/// Gives the rule "root". Throws InvalidArgument that names the line.
Grammar::Rule parse_gbnf(Grammar& grammar, std::string_view text);

}  // namespace diffllama
