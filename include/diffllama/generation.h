#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "diffllama/generation_config.h"
#include "diffllama/model.h"
#include "diffllama/tokenizer.h"

namespace diffllama {

/// Why a sequence ended; cancelled: by whoever asked for it (diffllama/engine.h).
enum class StopReason { eos, length, stop_string, cancelled };

struct GeneratedSequence {
  std::int64_t prompt_index = 0;
  std::vector<std::int64_t> ids;  // the new tokens, a final EOS included
  std::string text;               // of `ids`, without special tokens; empty without a tokenizer
  StopReason stop_reason = StopReason::length;
  float score = 0;  // of beam search, see Ending in diffllama/engine.h
};

/// Called for every new token with the text it completes (whole UTF-8 characters; may be empty).
/// sequence counts the returned sequences: prompt * num_return_sequences + i. Tokens of beam search
/// come when it ends.
using TokenCallback =
    std::function<void(std::int64_t sequence, std::int64_t id, const std::string& text)>;

/// Continues each prompt (token ids) of one batch. A sequence's tokens do not depend on the batch
/// around it. The tokenizer is needed for stop_strings and text only. Throws InvalidArgument for
/// options out of range and prompts that are empty or hold ids outside the vocabulary.
/// `assistant_model`, where there is one, is a smaller model of the same vocabulary that guesses
/// tokens ahead, which changes none of them.
std::vector<GeneratedSequence> generate(const Model& model,
                                        std::span<const std::vector<std::int64_t>> prompts,
                                        const GenerationConfig& config,
                                        const Tokenizer* tokenizer = nullptr,
                                        const TokenCallback& on_token = {},
                                        const Model* assistant_model = nullptr);

}  // namespace diffllama
