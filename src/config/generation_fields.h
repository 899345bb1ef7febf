#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "config/json_fields.h"
#include "diffllama/generation_config.h"

namespace diffllama {

/// How one option of generation is read, written, checked and told about.
struct GenerationField {
  std::string name;  // in generation_config.json; on the command line with - in place of _
  OptionShape shape = OptionShape::value;
  std::string help;
  /// Sets the option when the object has it; a null is as good as an absent field. Throws
  /// ConfigError for a value of another type.
  std::function<void(const JsonFields&, GenerationConfig&)> read;
  std::function<nlohmann::json(const GenerationConfig&)> write;
  /// "FIELD: expected ..., got ..." for a value that is not allowed, or empty.
  std::function<std::string(const GenerationConfig&)> problem;
};

/// All of them, in the order in which they are printed: the one table of generation's options.
const std::vector<GenerationField>& generation_field_table();

/// A field of transformers' GenerationConfig that is no option here.
struct ForeignGenerationField {
  std::string_view name;
  /// JSON of the values, with spaces between them, that ask for nothing; empty: no value asks for
  /// anything that changes which tokens are chosen.
  std::string_view off;
  std::string_view why;
};

const std::vector<ForeignGenerationField>& foreign_generation_fields();

}  // namespace diffllama
