#include "engine/drafter.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "config/causal_lm.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// softmax(scores)[id].
double probability(std::span<const float> scores, std::int64_t id) {
  const double own = scores[static_cast<std::size_t>(id)];
  double sum = 0;
  for (const float score : scores) sum += std::exp(score - own);
  return 1 / sum;
}

void check(const ModelConfig& draft, const ModelConfig& target) {
  require_causal_lm("[engine] assistant_model:", draft);
  if (draft.vocab_size == target.vocab_size) return;
  throw InvalidArgument("[engine] assistant_model: expected the model's vocabulary of " +
                        std::to_string(target.vocab_size) + " tokens, got one of " +
                        std::to_string(draft.vocab_size));
}

}  // namespace

Drafter::Drafter(const ForwardModel& model, const Parallel& parallel, const ModelConfig& target,
                 std::int64_t max_blocks)
    : model_((check(model.config, target), model)),
      pool_(model.stack.make_cache(CacheType::automatic).layout().block, max_blocks),
      step_(model, parallel) {}

void Drafter::run(std::span<ActiveSequence* const> sequences, std::span<const std::int64_t> counts,
                  std::int64_t max_step_tokens) {
  const auto take_guesses_off = [&] {
    for (ActiveSequence* const sequence : sequences) sequence->take_draft_off();
  };
  try {
    guess(sequences, counts, max_step_tokens);
  } catch (...) {
    take_guesses_off();
    for (ActiveSequence* const sequence : sequences) sequence->draft.clear();
    throw;
  }
  take_guesses_off();
}

void Drafter::guess(std::span<ActiveSequence* const> sequences,
                    std::span<const std::int64_t> counts, std::int64_t budget) {
  guessing_.clear();
  counts_.clear();
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (!read(*sequences[i], counts[i], budget)) continue;
    guessing_.push_back(sequences[i]);
    counts_.push_back(counts[i]);
  }
  while (!guessing_.empty()) {
    inputs_.clear();
    for (ActiveSequence* const sequence : guessing_) {
      inputs_.push_back(
          {.cache = &*sequence->draft_cache,
           .ids = sequence->ids,
           .rotary_length = sequence->rotary_length(sequence->draft_cache->length())});
    }
    const std::span<const StepLogits::Output> outputs = step_.run(inputs_);
    std::size_t left = 0;
    for (std::size_t i = 0; i < guessing_.size(); ++i) {
      if (!add_token(*guessing_[i], outputs[i].logits)) continue;
      if (std::ssize(guessing_[i]->draft) >= counts_[i]) continue;
      guessing_[left] = guessing_[i];
      counts_[left++] = counts_[i];
    }
    guessing_.resize(left);
    counts_.resize(left);
  }
}

// Whether all but the last token of the sequence have gone through the draft model, with room for
// what is to be guessed.
bool Drafter::read(ActiveSequence& sequence, std::int64_t count, std::int64_t& budget) {
  if (!sequence.draft_cache) {
    sequence.draft_cache.emplace(model_.stack.make_cache(CacheType::automatic, &pool_));
  }
  SequenceCache& cache = *sequence.draft_cache;
  const std::int64_t last = sequence.length() - 1;
  const std::int64_t kept = std::min(cache.length(), last);
  cache.truncate(kept, kept);
  const std::int64_t tokens = std::min(last - kept, budget);
  if (cache.blocks_missing(tokens + count) > pool_.free()) {
    cache.truncate(0, 0);
    return false;
  }
  cache.reserve(tokens + count);
  if (tokens > 0) {
    const StepLogits::Sequence input{
        .cache = &cache,
        .ids = std::span(sequence.ids).first(static_cast<std::size_t>(kept + tokens)),
        .rotary_length = sequence.rotary_length(kept + tokens - 1),
        .rows = StepLogits::Rows::none,
        .logits = false};
    step_.run({&input, 1});
    budget -= tokens;
  }
  return cache.length() == last;
}

// Whether another one may be guessed behind it.
bool Drafter::add_token(ActiveSequence& sequence, std::span<float> logits) {
  ActiveRequest& request = *sequence.request;
  const GenerationConfig& config = request.wanted.config;
  std::int64_t id = 0;
  try {
    id = request.draft_selector->select(logits,
                                        {.ids = sequence.ids,
                                         .prompt_length = request.prompt_length(),
                                         .stream = static_cast<std::uint64_t>(sequence.number)});
  } catch (const Error&) {
    return false;  // a draft model that has no guess is no reason to stop
  }
  sequence.draft.push_back(id);
  sequence.ids.push_back(id);
  if (request.ends_with(id)) return false;
  const double threshold = config.assistant_confidence_threshold;
  return threshold == 0 || probability(logits, id) >= threshold;
}

}  // namespace diffllama
