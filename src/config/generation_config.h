#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "diffllama/config.h"
#include "diffllama/generation_config.h"

namespace diffllama {

/// Reads the text of a generation_config.json. Absent and null fields keep their defaults. What
/// transformers' GenerationConfig has beyond ours, where it would change the result, and what
/// neither knows is named in one warning. Messages start with `where`, the file's path. Throws
/// FormatError for text that is not a JSON object, ConfigError for a field that is not allowed.
GenerationConfig parse_generation_config(std::string_view json_text, const std::string& where,
                                         const WarningHandler& warn = {});

/// Sets the options that `object` has, named as in generation_config.json. A count of new tokens
/// takes the place of the length that counts the prompt, in `config` too. Throws ConfigError for
/// values of a wrong type; what they may be is for find_problem to say.
void read_generation_fields(const nlohmann::json& object, const std::string& where,
                            GenerationConfig& config);

/// The text of a generation_config.json with the options that differ from their defaults.
std::string write_generation_config(const GenerationConfig& config);

/// "FIELD: expected ..., got ..." for the first option that is not allowed, or empty.
std::string find_problem(const GenerationConfig& config);

}  // namespace diffllama
