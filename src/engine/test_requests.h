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
#include "generation/beam_search.h"
#include "generation/step_logits.h"
#include "generation/test_model.h"
#include "generation/token_selector.h"

namespace diffllama {

/// A sequence as its owner sees it: new tokens, and the logits that each was chosen from.
struct SeenSequence {
  std::vector<std::int64_t> ids;
  std::vector<std::vector<float>> logits;
  std::optional<StopReason> reason = {};
  float score = 0;  // of beam search

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
  SequenceCache negative_cache = forward.stack.make_cache(type);
  std::vector<std::int64_t> ids = request.ids;
  std::vector<std::int64_t> negative_ids = request.config.negative_prompt_ids;
  if (negative_ids.empty()) negative_ids = {ids.back()};
  const auto scale = static_cast<float>(request.config.guidance_scale);
  std::vector<float> guided;
  const std::int64_t prompt = std::ssize(ids);
  const std::int64_t limit =
      request.config.max_length.value_or(prompt + request.config.max_new_tokens);
  SeenSequence seen;
  while (!seen.reason) {
    std::span<float> logits = step.last_logits(cache, ids);
    seen.logits.emplace_back(logits.begin(), logits.end());
    if (scale != 1) {
      guided = seen.logits.back();
      renormalize(guided);
      const std::span<float> negative = step.last_logits(negative_cache, negative_ids);
      renormalize(negative);
      for (std::size_t i = 0; i < guided.size(); ++i) {
        guided[i] = scale * (guided[i] - negative[i]) + negative[i];
      }
      logits = guided;
    }
    const std::int64_t id = selector.select(
        logits,
        {.ids = ids, .prompt_length = prompt, .stream = static_cast<std::uint64_t>(number)});
    ids.push_back(id);
    negative_ids.push_back(id);
    seen.ids.push_back(id);
    if (std::ranges::find(eos, id) != eos.end()) {
      seen.reason = StopReason::eos;
    } else if (std::ssize(ids) >= limit) {
      seen.reason = StopReason::length;
    }
  }
  return seen;
}

/// The same of beam search, all sequences that are returned: each beam has a cache of its own and
/// goes through the model by itself.
inline std::vector<SeenSequence> run_beams_alone(const TestModel& model, const Request& request,
                                                 CacheType type) {
  struct Beam {
    std::vector<std::int64_t> ids;
    SequenceCache cache;
    std::vector<float> logits = {}, scores = {};
  };
  const ForwardModel forward = model.forward_model();
  const GenerationConfig& config = request.config;
  const std::vector<std::int64_t> eos = ending_tokens(model.config(), config);
  TokenSelector selector(config, eos);
  StepLogits step(forward, model.parallel());
  BeamSearch search({.num_beams = config.num_beams,
                     .length_penalty = config.length_penalty,
                     .early_stopping = config.early_stopping,
                     .max_new_tokens = config.max_new_tokens,
                     .ending_tokens = std::ssize(eos),
                     .samples = config.do_sample,
                     .seed = config.seed});
  const auto ends = [&](std::int64_t, std::int64_t id) { return std::ranges::count(eos, id) > 0; };
  std::vector<Beam> beams;
  beams.push_back({.ids = request.ids, .cache = forward.stack.make_cache(type)});
  std::vector<std::vector<float>> logits_of_nodes;
  while (!search.done()) {
    std::vector<std::span<const float>> scores;
    for (Beam& beam : beams) {
      const std::span<float> logits = step.last_logits(beam.cache, beam.ids);
      beam.logits.assign(logits.begin(), logits.end());
      beam.scores = beam.logits;
      selector.score_beam(
          beam.scores,
          {.ids = beam.ids, .prompt_length = std::ssize(request.ids), .stream = scores.size()});
      scores.emplace_back(beam.scores);
    }
    search.step(scores, ends);
    for (auto i = std::ssize(logits_of_nodes); i < search.nodes(); ++i) {
      logits_of_nodes.push_back(beams[static_cast<std::size_t>(search.node(i).beam)].logits);
    }
    std::vector<Beam> next;
    for (const BeamSearch::Beam& beam : search.running()) {
      const Beam& parent = beams[static_cast<std::size_t>(beam.parent)];
      next.push_back({.ids = parent.ids, .cache = parent.cache.fork()});
      next.back().ids.push_back(search.node(beam.node).id);
    }
    beams = std::move(next);
  }
  std::vector<SeenSequence> result;
  for (const BeamSearch::Finished& finished : search.finished()) {
    if (std::ssize(result) == config.num_return_sequences) break;
    SeenSequence seen;
    for (const std::int64_t node : search.path(finished.node)) {
      seen.ids.push_back(search.node(node).id);
      seen.logits.push_back(logits_of_nodes[static_cast<std::size_t>(node)]);
    }
    seen.reason = ends(0, seen.ids.back()) ? StopReason::eos : StopReason::length;
    seen.score = finished.score;
    result.push_back(std::move(seen));
  }
  return result;
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
      SeenSequence& seen = sequences_[{ending.request, ending.sequence}];
      seen.reason = ending.reason;
      seen.score = ending.score;
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
