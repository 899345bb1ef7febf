#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "diffllama/generation_config.h"

namespace diffllama::cli {

/// Adds an option for each entry of the one table of generation's options, --max-new-tokens for
/// max_new_tokens, but for those that `without` names. What the command line gives goes to `given`,
/// which must live as long as `command`, named as in generation_config.json.
void add_generation_options(CLI::App& command, nlohmann::json& given,
                            std::span<const std::string_view> without = {});

/// Sets what was given over `config`, and warns where it changes nothing; `command` begins messages
/// of values of a wrong type. Throws CLI::ValidationError for values that are not allowed.
void set_generation_options(const nlohmann::json& given, const std::string& command,
                            GenerationConfig& config);

/// Throws CLI::ValidationError for EOS ids that were given and are outside the model's vocabulary.
/// Those of a file may be of a tokenizer with more tokens.
void check_given_eos(const nlohmann::json& given, const GenerationConfig& config,
                     std::int64_t vocab_size);

}  // namespace diffllama::cli
