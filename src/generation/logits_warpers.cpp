#include "generation/logits_warpers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace diffllama {
namespace {

// The tokens that are not ruled out, by ascending id.
std::span<std::int32_t> gather_candidates(std::span<const float> scores, LogitsScratch& scratch) {
  scratch.candidates.clear();
  for (std::size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] > kRuledOut) scratch.candidates.push_back(static_cast<std::int32_t>(id));
  }
  return scratch.candidates;
}

float& score_of(std::span<float> scores, std::int32_t id) {
  return scores[static_cast<std::size_t>(id)];
}

// Softmax of the candidates, in scratch.weights, in their order.
void softmax(std::span<float> scores, std::span<const std::int32_t> candidates,
             LogitsScratch& scratch) {
  double largest = kRuledOut;
  for (const std::int32_t id : candidates) {
    largest = std::max(largest, static_cast<double>(score_of(scores, id)));
  }
  scratch.weights.clear();
  double total = 0;
  for (const std::int32_t id : candidates) {
    scratch.weights.push_back(std::exp(score_of(scores, id) - largest));
    total += scratch.weights.back();
  }
  for (double& weight : scratch.weights) weight /= total;
}

double entropy(std::span<const double> probabilities) {
  double sum = 0;
  for (const double p : probabilities) sum -= p > 0 ? p * std::log(p) : 0;
  return sum;
}

// The score of the `keep`-th likeliest token, which is kept with all that are as likely.
float least_kept(std::span<const float> scores, std::int64_t keep, LogitsScratch& scratch) {
  if (keep == 1) return std::ranges::max(scores);
  scratch.values.assign(scores.begin(), scores.end());
  const auto count = std::min(keep, static_cast<std::int64_t>(scores.size()));
  const auto kth = scratch.values.begin() + (count - 1);
  std::nth_element(scratch.values.begin(), kth, scratch.values.end(), std::greater<>());
  return *kth;
}

// Rules out candidates of less than this probability; probabilities are rounded to float32, as
// torch keeps them. scratch.weights holds theirs.
void cut_below(std::span<float> scores, std::span<const std::int32_t> candidates, float least,
               std::int64_t keep, LogitsScratch& scratch) {
  const float kept = least_kept(scores, keep, scratch);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    float& score = score_of(scores, candidates[i]);
    if (static_cast<float>(scratch.weights[i]) < least && score < kept) score = kRuledOut;
  }
}

}  // namespace

void apply_temperature(std::span<float> scores, double temperature) {
  const auto divisor = static_cast<float>(temperature);
  const float largest = std::ranges::max(scores);
  if (std::isfinite(largest) && !std::isfinite(largest / divisor)) {
    // So small that scores overflow: their distances from the largest say the same.
    for (float& score : scores) {
      const double distance = static_cast<double>(score) - largest;
      score = distance == 0 ? 0 : static_cast<float>(distance / temperature);
    }
    return;
  }
  for (float& score : scores) score /= divisor;
}

void top_h(std::span<float> scores, double h, LogitsScratch& scratch) {
  constexpr std::size_t kMostTokens = 100;
  auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  const std::size_t count = std::min(kMostTokens, candidates.size());
  std::ranges::partial_sort(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(count),
                            [&](std::int32_t a, std::int32_t b) {
                              const float x = score_of(scores, a), y = score_of(scores, b);
                              return x > y || (x == y && a < b);
                            });
  softmax(scores, candidates.first(count), scratch);
  const double limit = h * entropy(scratch.weights);
  double sum = 0;
  std::size_t kept = 0;
  for (; kept < count; ++kept) {
    const double p = scratch.weights[kept];
    sum -= p > 0 ? p * std::log(p) : 0;
    if (kept > 0 && !(sum <= limit)) break;
  }
  for (const std::int32_t id : candidates.subspan(kept)) score_of(scores, id) = kRuledOut;
}

void top_k(std::span<float> scores, std::int64_t k, LogitsScratch& scratch, std::int64_t keep) {
  k = std::max(k, keep);
  if (k >= static_cast<std::int64_t>(scores.size())) return;
  scratch.values.assign(scores.begin(), scores.end());
  const auto kth = scratch.values.begin() + (k - 1);
  std::nth_element(scratch.values.begin(), kth, scratch.values.end(), std::greater<>());
  const float least = *kth;
  for (float& score : scores) {
    if (score < least) score = kRuledOut;
  }
}

void top_p(std::span<float> scores, double p, LogitsScratch& scratch, std::int64_t keep) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  std::ranges::sort(candidates, [&](std::int32_t a, std::int32_t b) {
    const float x = score_of(scores, a), y = score_of(scores, b);
    return x < y || (x == y && a < b);
  });
  softmax(scores, candidates, scratch);
  // The least likely tokens go while their probabilities together are at most 1 - p; probabilities
  // and their sums are rounded to float32, as torch keeps them.
  const auto removed_mass = static_cast<float>(1 - p);
  double mass = 0;
  const std::size_t kept = std::min(static_cast<std::size_t>(keep), candidates.size());
  for (std::size_t i = 0; i + kept < candidates.size(); ++i) {
    mass += static_cast<float>(scratch.weights[i]);
    if (!(static_cast<float>(mass) <= removed_mass)) break;
    score_of(scores, candidates[i]) = kRuledOut;
  }
}

void min_p(std::span<float> scores, double p, LogitsScratch& scratch, std::int64_t keep) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  softmax(scores, candidates, scratch);
  const auto largest = static_cast<float>(std::ranges::max(scratch.weights));
  cut_below(scores, candidates, static_cast<float>(p) * largest, keep, scratch);
}

void typical_p(std::span<float> scores, double mass, LogitsScratch& scratch, std::int64_t keep) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  softmax(scores, candidates, scratch);
  const double expected = entropy(scratch.weights);
  // How far each token's information is from the expected one, by token; what is ruled out is last.
  scratch.values.assign(scores.size(), std::numeric_limits<float>::infinity());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    scratch.values[static_cast<std::size_t>(candidates[i])] =
        static_cast<float>(std::abs(-std::log(scratch.weights[i]) - expected));
  }
  const auto distance = [&](std::int32_t id) {
    return scratch.values[static_cast<std::size_t>(id)];
  };
  std::ranges::sort(candidates, [&](std::int32_t a, std::int32_t b) {
    return distance(a) < distance(b) || (distance(a) == distance(b) && a < b);
  });
  softmax(scores, candidates, scratch);
  std::size_t last = 0;  // the first token with which the mass is reached
  for (double sum = scratch.weights[0]; last + 1 < candidates.size();
       sum += scratch.weights[last]) {
    if (!(static_cast<float>(sum) < static_cast<float>(mass))) break;
    ++last;
  }
  const float farthest = distance(candidates[last]);
  const std::size_t kept = std::min(static_cast<std::size_t>(keep), candidates.size());
  for (const std::int32_t id : candidates.subspan(kept)) {
    if (distance(id) > farthest) score_of(scores, id) = kRuledOut;
  }
}

void epsilon_cutoff(std::span<float> scores, double epsilon, LogitsScratch& scratch,
                    std::int64_t keep) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  softmax(scores, candidates, scratch);
  cut_below(scores, candidates, static_cast<float>(epsilon), keep, scratch);
}

void eta_cutoff(std::span<float> scores, double epsilon, LogitsScratch& scratch,
                std::int64_t keep) {
  const auto candidates = gather_candidates(scores, scratch);
  if (candidates.empty()) return;
  softmax(scores, candidates, scratch);
  const double eta = std::min(epsilon, std::sqrt(epsilon) * std::exp(-entropy(scratch.weights)));
  cut_below(scores, candidates, static_cast<float>(eta), keep, scratch);
}

}  // namespace diffllama
