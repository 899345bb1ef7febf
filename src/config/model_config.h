#pragma once

#include <string>
#include <string_view>

#include "diffllama/config.h"

namespace diffllama {

/// The defaults of transformers' DiffLlamaConfig or LlamaConfig.
ModelConfig default_config(ModelType type);

/// Reads the text of a config.json and validates it. Fields that this engine does not read are kept
/// in source_json. Messages start with `where`, the file's path. Throws FormatError for text that
/// is not a JSON object, ConfigError for a field that is not allowed.
ModelConfig parse_model_config(std::string_view json_text, const std::string& where,
                               const WarningHandler& warn = {});

/// The text of a config.json as transformers 5 writes it, with the unknown fields of
/// config.source_json; parse_model_config reads it back as the same configuration.
std::string write_model_config(const ModelConfig& config);

/// Throws ConfigError "WHERE: FIELD: expected ..., got ..." for the first field that is not allowed
/// (docs/model.md "Configuration"); what is odd but usable is a warning.
void validate(const ModelConfig& config, const std::string& where = "model configuration",
              const WarningHandler& warn = {});

}  // namespace diffllama
