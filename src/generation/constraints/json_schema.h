#pragma once

#include <string_view>

#include "generation/constraints/grammar.h"

namespace diffllama {

/// A grammar of JSON texts that a schema (draft 2020-12) accepts. Not of all of them: properties
/// come in the schema's order, those that it does not name only where it speaks of them
/// (additionalProperties, or no properties at all), and each value is written as json_text.h and
/// json_number.h have it. Of a oneOf's branches, objects leave out the properties by which another
/// branch would hold too. Gives the rule of the whole. Throws InvalidArgument that names the path
/// of what is not supported.
Grammar::Rule parse_json_schema(Grammar& grammar, std::string_view schema);

}  // namespace diffllama
