#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "generation/constraints/grammar.h"

namespace diffllama {

// The parts of JSON as a grammar. No white space but at most one space after : and ,.

/// "\"", text as JSON writes it, "\"".
std::string json_string(std::string_view text);

/// One character of a JSON string, in every way that it may be written.
Grammar::Expression json_character(Grammar& grammar);
/// Any JSON string of `least` to `most` characters (Grammar::kUnbounded).
Grammar::Expression json_string_of_length(Grammar& grammar, std::int64_t least, std::int64_t most);
/// A character of a set as JSON writes it: escaped where it must be.
Grammar::Expression json_escaped(Grammar& grammar, const CodePoints& set);
/// What `text` describes, between quotes and with escapes: its characters and texts are the
/// decoded ones. It has no references to rules.
Grammar::Expression json_string_of(Grammar& grammar, Grammar::Expression text);
/// Strings other than `texts`, without escapes.
Grammar::Expression json_string_but(Grammar& grammar, const std::vector<std::string>& texts);
/// "," and ":" with what may stand after them.
Grammar::Expression json_comma(Grammar& grammar);
Grammar::Expression json_colon(Grammar& grammar);

/// Any JSON value.
Grammar::Rule json_value(Grammar& grammar);

}  // namespace diffllama
