#include "generation/token_selector.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

#include "base/random.h"
#include "diffllama/error.h"
#include "diffllama/logits_processor.h"
#include "generation/logits_warpers.h"

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

// Leaves the scores whose bits are set.
void rule_out_others(std::span<float> scores, std::span<const std::uint64_t> allowed) {
  for (std::size_t first = 0; first < scores.size(); first += 64) {
    const auto block = scores.subspan(first, std::min<std::size_t>(64, scores.size() - first));
    const std::uint64_t word = first / 64 < allowed.size() ? allowed[first / 64] : 0;
    if (word == 0) {
      std::ranges::fill(block, kRuledOut);
    } else {
      for (std::size_t i = 0; i < block.size(); ++i) {
        block[i] = (word >> i & 1) != 0 ? block[i] : kRuledOut;
      }
    }
  }
}

// Of biases for the same sequence the last one counts, as in a Python dictionary.
std::vector<SequenceBias> each_once(const std::vector<SequenceBias>& biases) {
  std::map<std::vector<std::int64_t>, double> last;
  for (const auto& [ids, bias] : biases) last[ids] = bias;
  std::vector<SequenceBias> result;
  for (const auto& [ids, bias] : biases) {
    const auto found = last.find(ids);
    if (found == last.end()) continue;
    result.push_back({.ids = ids, .bias = found->second});
    last.erase(found);
  }
  return result;
}

void refuse_no_choice(double largest) {
  if (largest > kRuledOut) return;
  throw Error(
      "[generate] expected a token to choose from, got every one ruled out (no_repeat_ngram_size, "
      "min_new_tokens, bad_words_ids, ...)");
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
  refuse_no_choice(largest);
  if (std::isinf(largest)) throw Error("[generate] expected finite logits, got infinity");
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

void TokenSelector::refuse_nan(std::span<const float> logits, const SelectionContext& context) {
  if (!has_nan(logits)) return;
  const auto found = std::ranges::find_if(logits, [](float x) { return std::isnan(x); });
  throw Error("[generate] expected logits that are numbers, got NaN for token id " +
              std::to_string(found - logits.begin()) + " after " +
              std::to_string(context.ids.size()) + " tokens: the weights or the input overflow");
}

TokenSelector::TokenSelector(GenerationConfig config, std::vector<std::int64_t> eos_token_ids)
    : config_(std::move(config)),
      eos_token_ids_(std::move(eos_token_ids)),
      biases_(each_once(config_.sequence_bias)) {
  for (const auto& [id, bias] : config_.logit_bias) biases_.push_back({.ids = {id}, .bias = bias});
  for (const std::vector<std::int64_t>& ids : config_.bad_words_ids) {
    const bool eos = ids.size() == 1 && std::ranges::find(eos_token_ids_, ids[0]) !=
                                            eos_token_ids_.end();  // transformers lets it be
    if (!eos) bad_words_.push_back({.ids = ids, .bias = kRuledOut});
  }
  if (config_.watermarking_config) watermark_.emplace(*config_.watermarking_config);
}

void TokenSelector::adjust(std::span<float> scores, const SelectionContext& context) {
  if (!biases_.empty()) sequence_bias(scores, context.ids, biases_, scratch_);
  if (config_.repetition_penalty != 1) {
    repetition_penalty(scores, context.ids, config_.repetition_penalty, scratch_);
  }
  if (config_.presence_penalty != 0 || config_.frequency_penalty != 0) {
    presence_and_frequency_penalty(
        scores, context.ids.subspan(static_cast<std::size_t>(context.prompt_length)),
        config_.presence_penalty, config_.frequency_penalty, scratch_);
  }
  ban(scores, context);
  force_ends(scores, context);
}

void TokenSelector::warp(std::span<float> scores, const SelectionContext& context) {
  if (config_.constraint) constrain(scores, context);
  if (samples()) warp_for_sampling(scores);
  if (watermark_) watermark_->apply(scores, context.ids);
  if (config_.renormalize_logits) renormalize(scores);
}

void TokenSelector::process(std::span<float> scores, const SelectionContext& context) {
  adjust(scores, context);
  for (const auto& processor : config_.logits_processors) processor->process(context.ids, scores);
  if (!config_.logits_processors.empty()) refuse_nan(scores, context);
  warp(scores, context);
}

void TokenSelector::ban(std::span<float> scores, const SelectionContext& context) {
  if (config_.no_repeat_ngram_size > 0) {
    no_repeat_ngram(scores, context.ids, config_.no_repeat_ngram_size);
  }
  if (!bad_words_.empty()) sequence_bias(scores, context.ids, bad_words_, scratch_);
  if (is_too_short(context)) rule_out(scores, eos_token_ids_);
}

void TokenSelector::force_ends(std::span<float> scores, const SelectionContext& context) {
  const auto length = static_cast<std::int64_t>(context.ids.size());
  const std::int64_t longest =
      config_.max_length.value_or(context.prompt_length + config_.max_new_tokens);
  const auto& bos = config_.forced_bos_token_id;
  if (bos && length == 1) force(scores, std::span(&*bos, 1));
  if (!config_.forced_eos_token_ids.empty() && length == longest - 1) {
    force(scores, config_.forced_eos_token_ids);
  }
  if (const auto& decay = config_.exponential_decay_length_penalty) {
    const std::int64_t steps = length - context.prompt_length - decay->start;
    if (steps > 0) exponential_decay(scores, eos_token_ids_, decay->factor, steps);
  }
  rule_out(scores, config_.suppress_tokens);
  // A forced BOS comes first, and the text begins behind it.
  const std::int64_t begin = context.prompt_length + (bos && context.prompt_length <= 1 ? 1 : 0);
  if (length == begin) rule_out(scores, config_.begin_suppress_tokens);
}

void TokenSelector::constrain(std::span<float> scores, const SelectionContext& context) {
  ConstraintCursor& cursor = cursors_.try_emplace(context.stream, config_.constraint).first->second;
  cursor.follow(context.ids.subspan(static_cast<std::size_t>(context.prompt_length)));
  cursor.allowed(allowed_);
  // What ends a sequence ends the text, and is no part of it, whatever its own text is.
  for (const std::int64_t id : eos_token_ids_) {
    const auto word = static_cast<std::size_t>(id) / 64;
    if (id < 0 || id >= static_cast<std::int64_t>(scores.size())) continue;
    if (word >= allowed_.size()) allowed_.resize(word + 1, 0);
    const std::uint64_t bit = std::uint64_t{1} << (id % 64);
    allowed_[word] = cursor.complete() ? allowed_[word] | bit : allowed_[word] & ~bit;
  }
  rule_out_others(scores, allowed_);
  if (largest_of(scores) > kRuledOut) return;
  const auto count = static_cast<std::int64_t>(context.ids.size()) - context.prompt_length;
  throw Error("[generate] constraint: expected a token that goes on, got " +
              (cursor.complete() ? "a whole text " + no_end(context)
                                 : std::string("every one that may follow ruled out by other "
                                               "options, or absent from the vocabulary")) +
              ", after " + std::to_string(count) + (count == 1 ? " new token" : " new tokens"));
}

// Why a text that is whole cannot end.
std::string TokenSelector::no_end(const SelectionContext& context) const {
  if (eos_token_ids_.empty()) return "and no EOS token to end it";
  const auto suppressed = [&](std::int64_t id) {
    return std::ranges::find(config_.suppress_tokens, id) != config_.suppress_tokens.end();
  };
  std::string by = "other options";
  if (is_too_short(context)) {
    by = config_.min_length ? "min_length " + std::to_string(*config_.min_length)
                            : "min_new_tokens " + std::to_string(config_.min_new_tokens);
  } else if (std::ranges::all_of(eos_token_ids_, suppressed)) {
    by = "suppress_tokens";
  }
  return "whose end, EOS, is ruled out by " + by;
}

bool TokenSelector::is_too_short(const SelectionContext& context) const {
  const auto length = static_cast<std::int64_t>(context.ids.size());
  return config_.min_length ? length < *config_.min_length
                            : length - context.prompt_length < config_.min_new_tokens;
}

// As transformers: a beam that does not end must be left where every token that ends is taken.
std::int64_t TokenSelector::least_kept() const {
  if (config_.num_beams == 1) return 1;
  return std::max<std::int64_t>(std::ssize(eos_token_ids_), 1) + 1;
}

void TokenSelector::warp_for_sampling(std::span<float> scores) {
  const std::int64_t keep = least_kept();
  if (config_.temperature != 1) apply_temperature(scores, config_.temperature);
  if (config_.top_h) top_h(scores, *config_.top_h, scratch_);
  if (config_.top_k > 0) top_k(scores, config_.top_k, scratch_, keep);
  if (config_.top_p < 1) top_p(scores, config_.top_p, scratch_, keep);
  if (config_.min_p > 0) min_p(scores, config_.min_p, scratch_, keep);
  if (config_.typical_p < 1) typical_p(scores, config_.typical_p, scratch_, keep);
  const auto cuts = [](double cutoff) { return cutoff > 0 && cutoff < 1; };
  if (cuts(config_.epsilon_cutoff)) epsilon_cutoff(scores, config_.epsilon_cutoff, scratch_, keep);
  if (cuts(config_.eta_cutoff)) eta_cutoff(scores, config_.eta_cutoff, scratch_, keep);
}

void TokenSelector::score_beam(std::span<float> scores, const SelectionContext& context) {
  refuse_nan(scores, context);
  renormalize(scores);
  process(scores, context);
}

std::int64_t TokenSelector::choose(std::span<const float> scores, const SelectionContext& context) {
  if (!samples()) {
    const std::int64_t likeliest = argmax(scores);
    refuse_no_choice(scores[static_cast<std::size_t>(likeliest)]);
    return likeliest;
  }
  const std::uint64_t step = context.ids.size() - static_cast<std::uint64_t>(context.prompt_length);
  return sample(scores, Random(config_.seed, context.stream).uniform(step), scratch_);
}

std::int64_t TokenSelector::select(std::span<float> scores, const SelectionContext& context) {
  refuse_nan(scores, context);
  process(scores, context);
  return choose(scores, context);
}

}  // namespace diffllama
