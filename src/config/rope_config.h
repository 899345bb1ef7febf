#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "config/json_fields.h"
#include "diffllama/config.h"

namespace diffllama {

/// Reads the rotary settings of a config.json object in both styles ("rope_parameters";
/// "rope_theta" with "rope_scaling"), with the fall-backs of transformers'
/// RotaryEmbeddingConfigMixin. Throws ConfigError for wrong types, unknown types and missing
/// fields; unknown keys are warnings.
RopeParameters parse_rope(const JsonFields& config, const WarningHandler& warn);

/// The "rope_parameters" object that parse_rope reads back as the same settings.
nlohmann::json rope_to_json(const ModelConfig& config);

/// The rotary part of validate() (model_config.h).
void validate_rope(const ModelConfig& config, const std::string& where, const WarningHandler& warn);

}  // namespace diffllama
