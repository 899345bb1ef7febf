#include "generation/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace diffllama {
namespace {

constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

bool inside(std::int64_t id, std::span<const float> scores) {
  return id >= 0 && id < static_cast<std::int64_t>(scores.size());
}

// The tokens that are not ruled out, by ascending id.
std::span<std::int32_t> gather_candidates(std::span<const float> scores, LogitsScratch& scratch) {
  scratch.candidates.clear();
  for (std::size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] > kRuledOut) scratch.candidates.push_back(static_cast<std::int32_t>(id));
  }
  return scratch.candidates;
}

}  // namespace

void repetition_penalty(std::span<float> scores, std::span<const std::int64_t> ids, double penalty,
                        LogitsScratch& scratch) {
  scratch.seen.assign(scores.size(), 0);
  const auto factor = static_cast<float>(penalty);  // torch takes a scalar as its tensor's type
  for (const std::int64_t id : ids) {
    if (!inside(id, scores)) continue;
    const auto token = static_cast<std::size_t>(id);
    if (scratch.seen[token] != 0) continue;
    scratch.seen[token] = 1;
    scores[token] = scores[token] < 0 ? scores[token] * factor : scores[token] / factor;
  }
}

void no_repeat_ngram(std::span<float> scores, std::span<const std::int64_t> ids,
                     std::int64_t size) {
  if (static_cast<std::int64_t>(ids.size()) < size) return;
  const auto prefix_size = static_cast<std::size_t>(size - 1);
  const auto prefix = ids.last(prefix_size);
  for (std::size_t i = 0; i + prefix_size < ids.size(); ++i) {
    const std::int64_t next = ids[i + prefix_size];
    if (inside(next, scores) && std::ranges::equal(ids.subspan(i, prefix_size), prefix)) {
      scores[static_cast<std::size_t>(next)] = kRuledOut;
    }
  }
}

void rule_out(std::span<float> scores, std::span<const std::int64_t> tokens) {
  for (const std::int64_t id : tokens) {
    if (inside(id, scores)) scores[static_cast<std::size_t>(id)] = kRuledOut;
  }
}

void apply_temperature(std::span<float> scores, double temperature) {
  const auto divisor = static_cast<float>(temperature);
  for (float& score : scores) score /= divisor;
}

void top_k(std::span<float> scores, std::int64_t k, LogitsScratch& scratch) {
  if (k >= static_cast<std::int64_t>(scores.size())) return;
  scratch.values.assign(scores.begin(), scores.end());
  const auto kth = scratch.values.begin() + (k - 1);
  std::nth_element(scratch.values.begin(), kth, scratch.values.end(), std::greater<>());
  const float least = *kth;
  for (float& score : scores) {
    if (score < least) score = kRuledOut;
  }
}

void top_p(std::span<float> scores, double p, LogitsScratch& scratch) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  const auto score_of = [&](std::int32_t id) { return scores[static_cast<std::size_t>(id)]; };
  std::ranges::sort(candidates, [&](std::int32_t a, std::int32_t b) {
    return score_of(a) < score_of(b) || (score_of(a) == score_of(b) && a < b);
  });
  const double largest = score_of(candidates.back());
  double total = 0;
  for (const std::int32_t id : candidates) total += std::exp(score_of(id) - largest);
  // The least likely tokens go while their probabilities together are at most 1 - p; probabilities
  // and their sums are rounded to float32, as torch keeps them.
  const auto removed_mass = static_cast<float>(1 - p);
  double mass = 0;
  for (const std::int32_t id : candidates.first(candidates.size() - 1)) {
    mass += static_cast<float>(std::exp(score_of(id) - largest) / total);
    if (!(static_cast<float>(mass) <= removed_mass)) break;
    scores[static_cast<std::size_t>(id)] = kRuledOut;
  }
}

void min_p(std::span<float> scores, double p, LogitsScratch& scratch) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  const double largest = std::ranges::max(scores);
  double total = 0;
  for (const std::int32_t id : candidates) {
    total += std::exp(scores[static_cast<std::size_t>(id)] - largest);
  }
  const float least = static_cast<float>(p) * static_cast<float>(1 / total);
  for (const std::int32_t id : candidates) {
    float& score = scores[static_cast<std::size_t>(id)];
    if (static_cast<float>(std::exp(score - largest) / total) < least) score = kRuledOut;
  }
}

}  // namespace diffllama
