#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/generation.h"
#include "model/forward.h"

namespace diffllama {

/// What `generate` (diffllama/generation.h) is handed beside the model and the prompts.
struct GenerationHooks {
  const Tokenizer* tokenizer = nullptr;     // null: no text
  TokenCallback on_token = {};              // may be empty
  WarningHandler warn = {};                 // absent: stderr
  const ForwardModel* assistant = nullptr;  // the draft model, if there is one
  std::span<const std::vector<std::int64_t>> negative_prompts = {};  // of each prompt, or none
};

/// Sequences that go through the model at once; the others wait until one of these ends.
inline constexpr std::int64_t kMaxActiveSequences = 64;

/// Implements `generate` of diffllama/generation.h: a loop over StepLoop, with as much memory as
/// there is.
std::vector<GeneratedSequence> continue_prompts(const ForwardModel& model, const Parallel& parallel,
                                                std::span<const std::vector<std::int64_t>> prompts,
                                                const GenerationConfig& config,
                                                const GenerationHooks& hooks);

}  // namespace diffllama
