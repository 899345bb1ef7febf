#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/request_checks.h"
#include "engine/step_loop.h"
#include "generation/step_logits.h"
#include "generation/test_model.h"
#include "generation/token_selector.h"

namespace diffllama {

/// A sequence as its owner sees it: new tokens, and the logits that each was chosen from.
struct SeenSequence {
  std::vector<std::int64_t> ids;
  std::vector<std::vector<float>> logits;
  std::optional<StopReason> reason = {};

  bool operator==(const SeenSequence&) const = default;
  /// Whether it is what `other` began with.
  bool begins(const SeenSequence& other) const {
    if (ids.size() > other.ids.size()) return false;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != other.ids[i] || logits[i] != other.logits[i]) return false;
    }
    return true;
  }
};

/// What a sequence of a request is when nothing runs beside it: its prompt at once, then a token at
/// a time, in a cache of its own, without a step loop.
inline SeenSequence run_alone(const TestModel& model, const Request& request, std::int64_t number,
                              CacheType type) {
  const ForwardModel forward = model.forward_model();
  const std::vector<std::int64_t> eos = ending_tokens(model.config(), request.config);
  TokenSelector selector(request.config, eos);
  StepLogits step(forward, model.parallel());
  SequenceCache cache = forward.stack.make_cache(type);
  std::vector<std::int64_t> ids = request.ids;
  const std::int64_t prompt = std::ssize(ids);
  const std::int64_t limit =
      request.config.max_length.value_or(prompt + request.config.max_new_tokens);
  SeenSequence seen;
  while (!seen.reason) {
    const std::span<float> logits = step.last_logits(cache, ids);
    seen.logits.emplace_back(logits.begin(), logits.end());
    const std::int64_t id = selector.select(
        logits,
        {.ids = ids, .prompt_length = prompt, .stream = static_cast<std::uint64_t>(number)});
    ids.push_back(id);
    seen.ids.push_back(id);
    if (std::ranges::find(eos, id) != eos.end()) {
      seen.reason = StopReason::eos;
    } else if (std::ssize(ids) >= limit) {
      seen.reason = StopReason::length;
    }
  }
  return seen;
}

/// Collects what a step loop tells of its sequences.
class Collector {
 public:
  using Name = std::pair<RequestId, std::int64_t>;  // request and sequence

  void take(const StepEvents& events) {
    for (const NewToken& token : events.tokens) {
      SeenSequence& seen = sequences_[{token.request, token.sequence}];
      seen.ids.push_back(token.id);
      seen.logits.push_back(token.logits);
    }
    for (const Ending& ending : events.endings) {
      sequences_[{ending.request, ending.sequence}].reason = ending.reason;
    }
    for (const Refusal& refusal : events.refusals) refusals_[refusal.request] = refusal.message;
  }
  void run(StepLoop& loop) {
    while (loop.has_work()) take(loop.step());
  }
  const std::map<Name, SeenSequence>& sequences() const { return sequences_; }
  const SeenSequence& sequence(RequestId id, std::int64_t number = 0) const {
    return sequences_.at({id, number});
  }
  const std::map<RequestId, std::string>& refusals() const { return refusals_; }

 private:
  std::map<Name, SeenSequence> sequences_;
  std::map<RequestId, std::string> refusals_;
};

inline std::vector<std::int64_t> random_ids(std::mt19937& random, std::int64_t count,
                                            std::int64_t vocab_size) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
  for (std::int64_t& id : ids) {
    id = std::uniform_int_distribution<std::int64_t>(0, vocab_size - 1)(random);
  }
  return ids;
}

}  // namespace diffllama
