#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "diffllama/generation_config.h"

namespace diffllama {

/// Scratch of the processors and the sampler; grows to the vocabulary and is used again.
struct LogitsScratch {
  std::vector<float> values;
  std::vector<std::int32_t> candidates;
  std::vector<std::uint8_t> seen;
  std::vector<double> weights;
  std::vector<std::pair<std::int64_t, float>> biases;
};

inline constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

// The logits processors and warpers of transformers (generation/logits_process.py), each on the
// scores [V] of one sequence, in place. A token that is ruled out gets minus infinity. Scores hold
// no NaN; ids are the prompt's and the new ones together, and those outside 0..V-1 count for
// nothing.

/// Each distinct id of `ids` once: scores below zero are multiplied by `penalty`, others divided.
void repetition_penalty(std::span<float> scores, std::span<const std::int64_t> ids, double penalty,
                        LogitsScratch& scratch);
/// Rules out every token that would repeat a run of `size` (>= 1) tokens.
void no_repeat_ngram(std::span<float> scores, std::span<const std::int64_t> ids, std::int64_t size);
/// Rules out `tokens`.
void rule_out(std::span<float> scores, std::span<const std::int64_t> tokens);
/// Adds to each sequence's last token its bias where the ids end in the tokens before it. Sequences
/// are different and not empty; biases are finite or minus infinity.
void sequence_bias(std::span<float> scores, std::span<const std::int64_t> ids,
                   std::span<const SequenceBias> sequences, LogitsScratch& scratch);
/// Takes `frequency` off for each time that a token is in `ids`, and `presence` once.
void presence_and_frequency_penalty(std::span<float> scores, std::span<const std::int64_t> ids,
                                    double presence, double frequency, LogitsScratch& scratch);
/// Gives `tokens` the score 0 and rules out all others.
void force(std::span<float> scores, std::span<const std::int64_t> tokens);
/// Adds |score| (factor^steps - 1) to each of `eos_token_ids` that has a finite score.
void exponential_decay(std::span<float> scores, std::span<const std::int64_t> eos_token_ids,
                       double factor, std::int64_t steps);
/// log(softmax(scores)).
void renormalize(std::span<float> scores);

}  // namespace diffllama
