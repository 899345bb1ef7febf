#pragma once

#include "config/json_fields.h"
#include "diffllama/config.h"

namespace diffllama {

/// Whether transformers defines the type, with the meaning of each field and of those that it does
/// not read: DiffLlama and Llama.
bool is_of_transformers(ModelType type);

/// What a config.json of a member has beside the fields that are read. Throws ConfigError for what
/// would compute something else: another member's fields, and settings that are not supported. One
/// warning names the fields of a type outside transformers that are set and not known.
void check_members_fields(const JsonFields& fields, const ModelConfig& config,
                          const WarningHandler& warn);

}  // namespace diffllama
