#pragma once

#include <string>

#include "diffllama/engine.h"
#include "model/forward.h"

namespace diffllama {

// What of a request can be told before it runs. `who` begins the message.

/// Throws InvalidArgument unless the model can be continued as `config` says.
void check_generation(const ForwardModel& model, const GenerationConfig& config,
                      const Tokenizer* tokenizer, const std::string& who);
/// Throws InvalidArgument for a prompt that is empty, too long for max_length, or holds ids outside
/// the vocabulary.
void check_prompt(const ModelConfig& model, std::span<const std::int64_t> ids,
                  const GenerationConfig& config, const std::string& who);
/// Both, as far as the request needs them, and what it wants back.
void check_request(const ForwardModel& model, const Request& request, const Tokenizer* tokenizer);

/// The tokens that end a sequence.
std::vector<std::int64_t> ending_tokens(const ModelConfig& model, const GenerationConfig& config);

}  // namespace diffllama
