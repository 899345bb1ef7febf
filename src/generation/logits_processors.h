#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace diffllama {

/// Scratch of the processors and the sampler; grows to the vocabulary and is used again.
struct LogitsScratch {
  std::vector<float> values;
  std::vector<std::int32_t> candidates;
  std::vector<std::uint8_t> seen;
  std::vector<double> weights;
};

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
/// Divides by `temperature` (> 0).
void apply_temperature(std::span<float> scores, double temperature);
/// Keeps the scores that are at least the k-th largest (k >= 1): ties may keep more than k.
void top_k(std::span<float> scores, std::int64_t k, LogitsScratch& scratch);
/// Keeps the smallest set of most likely tokens whose probability passes p; at least one. Of equal
/// scores the higher ids are kept first.
void top_p(std::span<float> scores, double p, LogitsScratch& scratch);
/// Keeps tokens whose probability is at least p times the largest one's.
void min_p(std::span<float> scores, double p, LogitsScratch& scratch);

}  // namespace diffllama
