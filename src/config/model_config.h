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

/// The text of a config.json, with the unknown fields of config.source_json; parse_model_config
/// reads it back as the same configuration. What transformers 5 and the versions before spell
/// differently, it says in both ways.
std::string write_model_config(const ModelConfig& config);

/// The text of a config.json, with the older spelling of rotary settings added where transformers
/// before 5 would compute something else from what it has, or fail. Throws as parse_model_config.
std::string config_for_every_version(const std::string& text, const std::string& where);

/// Throws ConfigError "WHERE: FIELD: expected ..., got ..." for the first field that is not allowed
/// (docs/model.md "Configuration"); what is odd but usable is a warning.
void validate(const ModelConfig& config, const std::string& where = "model configuration",
              const WarningHandler& warn = {});

/// "attention_dropout" of the text that a Llama's configuration was read from, 0 without one. Only
/// training would apply it, and refuses any other.
double attention_dropout(const ModelConfig& config);

}  // namespace diffllama
