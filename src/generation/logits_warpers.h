#pragma once

#include <cstdint>
#include <span>

#include "generation/logits_processors.h"

namespace diffllama {

// Processors of transformers that sampling alone uses (its "warpers"), each on the scores [V] of
// one sequence, in place. A token that is ruled out gets minus infinity; the `keep` likeliest never
// do. Probabilities are softmax(scores). Scores hold no NaN.

/// Divides by `temperature` (> 0).
void apply_temperature(std::span<float> scores, double temperature);
/// Of the 100 likeliest tokens keeps, in that order, those whose terms of the entropy add up to at
/// most top_h (above 0, at most 1) times the entropy of the 100.
void top_h(std::span<float> scores, double h, LogitsScratch& scratch);
/// Keeps the scores that are at least the k-th largest (k >= 1): ties may keep more than k.
void top_k(std::span<float> scores, std::int64_t k, LogitsScratch& scratch, std::int64_t keep = 1);
/// Keeps the smallest set of most likely tokens whose probability passes p. Of equal scores the
/// higher ids are kept first.
void top_p(std::span<float> scores, double p, LogitsScratch& scratch, std::int64_t keep = 1);
/// Keeps tokens whose probability is at least p times the largest one's.
void min_p(std::span<float> scores, double p, LogitsScratch& scratch, std::int64_t keep = 1);
/// Keeps the tokens whose information is closest to the entropy, until their probability reaches
/// `mass` (above 0, below 1).
void typical_p(std::span<float> scores, double mass, LogitsScratch& scratch, std::int64_t keep = 1);
/// Keeps tokens of at least this probability (above 0, below 1).
void epsilon_cutoff(std::span<float> scores, double epsilon, LogitsScratch& scratch,
                    std::int64_t keep = 1);
/// As epsilon_cutoff with min(epsilon, sqrt(epsilon) exp(-entropy)).
void eta_cutoff(std::span<float> scores, double epsilon, LogitsScratch& scratch,
                std::int64_t keep = 1);

}  // namespace diffllama
