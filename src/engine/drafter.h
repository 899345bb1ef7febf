#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "engine/sequence.h"
#include "generation/step_logits.h"
#include "model/forward.h"

namespace diffllama {

/// A draft model that guesses the next tokens of sequences: from its own logits, with the request's
/// processors and the random numbers of those very tokens, so that a model which thinks alike
/// guesses right where tokens are drawn too.
class Drafter {
 public:
  /// Its caches have blocks of a pool of `max_blocks` of their own; a sequence that finds none free
  /// is not guessed for. Throws InvalidArgument unless both models have one vocabulary.
  Drafter(const ForwardModel& model, const Parallel& parallel, const ModelConfig& target,
          std::int64_t max_blocks);

  /// Fills the drafts of `sequences` with at most `counts` tokens each. A sequence that the draft
  /// model has not read yet is read first, at most `max_step_tokens` in a call, without a guess.
  void run(std::span<ActiveSequence* const> sequences, std::span<const std::int64_t> counts,
           std::int64_t max_step_tokens);

  std::size_t block_bytes() const { return pool_.block_bytes(); }

 private:
  void guess(std::span<ActiveSequence* const> sequences, std::span<const std::int64_t> counts,
             std::int64_t budget);
  bool read(ActiveSequence& sequence, std::int64_t count, std::int64_t& budget);
  bool add_token(ActiveSequence& sequence, std::span<float> logits);

  ForwardModel model_;
  CacheBlockPool pool_;
  StepLogits step_;
  std::vector<ActiveSequence*> guessing_;
  std::vector<std::int64_t> counts_;
  std::vector<StepLogits::Sequence> inputs_;
};

}  // namespace diffllama
