#include "generation/token_selector.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "base/random.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// Scores are looked at a block at a time, without branches inside one, so that the compiler can
// take several at once: one by one, a vocabulary of 32,000 takes longer than a layer of a small
// model.
constexpr std::size_t kBlock = 256;

bool has_nan(std::span<const float> scores) {
  int count = 0;
  for (const float x : scores) count += x != x ? 1 : 0;  // NOLINT(misc-redundant-expression)
  return count > 0;
}

float largest_of(std::span<const float> scores) {
  std::array<float, 16> lanes;
  lanes.fill(scores.front());
  std::size_t i = 0;
  for (; i + lanes.size() <= scores.size(); i += lanes.size()) {
    for (std::size_t j = 0; j < lanes.size(); ++j) {
      lanes[j] = scores[i + j] > lanes[j] ? scores[i + j] : lanes[j];
    }
  }
  for (; i < scores.size(); ++i) lanes[0] = std::max(lanes[0], scores[i]);
  return *std::ranges::max_element(lanes);
}

void refuse_nan(std::span<const float> logits, const SelectionContext& context) {
  if (!has_nan(logits)) return;
  const auto found = std::ranges::find_if(logits, [](float x) { return std::isnan(x); });
  throw Error("[generate] expected logits that are numbers, got NaN for token id " +
              std::to_string(found - logits.begin()) + " after " +
              std::to_string(context.ids.size()) + " tokens: the weights or the input overflow");
}

}  // namespace

std::int64_t argmax(std::span<const float> scores) {
  float largest = scores.front();
  std::size_t block = 0;  // the first that has it
  for (std::size_t first = 0; first < scores.size(); first += kBlock) {
    const float top = largest_of(scores.subspan(first, std::min(kBlock, scores.size() - first)));
    if (top > largest) {
      largest = top;
      block = first;
    }
  }
  return std::ranges::find(scores.subspan(block), largest) - scores.begin();
}

std::int64_t sample(std::span<const float> scores, double uniform, LogitsScratch& scratch) {
  const double largest = std::ranges::max(scores);
  if (!std::isfinite(largest)) {
    throw Error(largest < 0 ? "[generate] expected a token to choose from, got every one ruled out "
                              "(no_repeat_ngram_size, min_new_tokens)"
                            : "[generate] expected finite logits, got infinity");
  }
  scratch.weights.resize(scores.size());
  double total = 0;
  for (std::size_t id = 0; id < scores.size(); ++id) {
    const double weight = std::isinf(scores[id]) ? 0.0 : std::exp(scores[id] - largest);
    scratch.weights[id] = weight;
    total += weight;
  }
  const double target = uniform * total;
  double sum = 0;
  std::int64_t last = 0;
  for (std::size_t id = 0; id < scores.size(); ++id) {
    if (scratch.weights[id] == 0) continue;
    last = static_cast<std::int64_t>(id);
    sum += scratch.weights[id];
    if (sum > target) break;
  }
  return last;
}

TokenSelector::TokenSelector(GenerationConfig config, std::vector<std::int64_t> eos_token_ids)
    : config_(std::move(config)), eos_token_ids_(std::move(eos_token_ids)) {}

void TokenSelector::process(std::span<float> scores, const SelectionContext& context) {
  const auto length = static_cast<std::int64_t>(context.ids.size());
  if (config_.repetition_penalty != 1) {
    repetition_penalty(scores, context.ids, config_.repetition_penalty, scratch_);
  }
  if (config_.no_repeat_ngram_size > 0) {
    no_repeat_ngram(scores, context.ids, config_.no_repeat_ngram_size);
  }
  const bool too_short = config_.min_length
                             ? length < *config_.min_length
                             : length - context.prompt_length < config_.min_new_tokens;
  if (too_short) rule_out(scores, eos_token_ids_);
  if (!samples()) return;
  if (config_.temperature != 1) apply_temperature(scores, config_.temperature);
  if (config_.top_k > 0) top_k(scores, config_.top_k, scratch_);
  if (config_.top_p < 1) top_p(scores, config_.top_p, scratch_);
  if (config_.min_p > 0) min_p(scores, config_.min_p, scratch_);
}

std::int64_t TokenSelector::select(std::span<float> scores, const SelectionContext& context) {
  refuse_nan(scores, context);
  process(scores, context);
  if (!samples()) return argmax(scores);
  const std::uint64_t step = context.ids.size() - static_cast<std::uint64_t>(context.prompt_length);
  return sample(scores, Random(config_.seed, context.stream).uniform(step), scratch_);
}

}  // namespace diffllama
