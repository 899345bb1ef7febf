#pragma once

#include <string>
#include <string_view>

#include "diffllama/config.h"
#include "diffllama/generation_config.h"

namespace diffllama {

/// Reads the text of a generation_config.json. Absent and null fields keep their defaults, unknown
/// ones are ignored as transformers does; a setting of transformers that this engine does not have
/// (num_beams, ...) is a warning where it would change the result. Messages start with `where`, the
/// file's path. Throws FormatError for text that is not a JSON object, ConfigError for a field that
/// is not allowed.
GenerationConfig parse_generation_config(std::string_view json_text, const std::string& where,
                                         const WarningHandler& warn = {});

/// "FIELD: expected ..., got ..." for the first option that is not allowed, or empty.
std::string find_problem(const GenerationConfig& config);

}  // namespace diffllama
