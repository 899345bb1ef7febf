#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "diffllama/engine.h"
#include "engine/prefix_cache.h"
#include "generation/beam_search.h"
#include "generation/generated_text.h"
#include "generation/speculation.h"
#include "generation/token_selector.h"
#include "model/kv_cache.h"

namespace diffllama {

/// New tokens of a sequence that memory is prepared for when it begins; more comes as it is needed.
inline constexpr std::int64_t kPreparedTokens = 4096;

/// At most a year, which is as good as for ever and does not overflow; 0 for NaN and below.
inline std::chrono::steady_clock::duration duration_of(double seconds) {
  constexpr double kLongest = 365.0 * 24 * 3600;
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(seconds > 0 ? std::min(seconds, kLongest) : 0));
}

/// A request that was taken in, shared by its sequences.
struct ActiveRequest {
  RequestId id = 0;
  Request wanted;
  std::vector<std::int64_t> eos_token_ids;
  TokenSelector selector;
  std::optional<TokenSelector> draft_selector = {};  // the draft model's
  std::int64_t max_length = 0;                       // of a sequence, in tokens
  bool prompt_done = false;                          // its result was given out
  /// Rows of the prompt that went into `prompt`: after a preemption they are not taken again.
  std::int64_t prompt_rows = 0;
  PromptResult prompt = {};
  /// Beam search; its running beams are the request's sequences, numbered alike.
  std::unique_ptr<BeamSearch> beams = {};
  std::int64_t scored_beams = 0;  // that wait for the others
  /// What is wanted of the token of each node of `beams`, where anything is.
  std::vector<NewToken> beam_tokens = {};

  /// Places among the running sequences that are kept for it while one of its sequences runs: they
  /// cannot get on without each other.
  std::int64_t places() const {
    if (beams) return wanted.config.num_beams;
    return guided() ? 2 * wanted.config.num_return_sequences : 1;
  }
  /// Each of its sequences has another beside it, with the negative prompt.
  bool guided() const { return wanted.config.guidance_scale != 1 && !wanted.prompt_only; }
  std::int64_t negative_length() const {
    return std::max<std::int64_t>(std::ssize(wanted.config.negative_prompt_ids), 1);
  }
  /// When max_time is over.
  std::optional<std::chrono::steady_clock::time_point> deadline = {};
  bool late() const { return deadline && std::chrono::steady_clock::now() > *deadline; }
  bool wants_all_rows() const {
    return wanted.prompt_logprobs.has_value() || wanted.hidden_states == PromptStates::all;
  }
  bool ends_with(std::int64_t token) const {
    return std::ranges::find(eos_token_ids, token) != eos_token_ids.end();
  }
  /// Whether the token's text is part of the sequence's: the end of a constrained text is none.
  bool has_text(std::int64_t token) const {
    return wanted.config.constraint == nullptr || !ends_with(token);
  }
  std::int64_t prompt_length() const { return std::ssize(wanted.ids); }
  /// Of a sequence; the last new token never enters the cache.
  std::int64_t max_keys() const {
    if (wanted.prompt_only) return prompt_length();
    const std::int64_t longer = guided() ? negative_length() - prompt_length() : 0;
    return max_length - 1 + std::max<std::int64_t>(longer, 0);
  }
};

/// A sequence of a request, whether it waits or runs. Its ids are all that counts: its cache may be
/// taken away at any time and is made anew from them.
struct ActiveSequence {
  std::shared_ptr<ActiveRequest> request;
  std::int64_t number = 0;              // of the request's sequences
  std::vector<std::int64_t> ids;        // the prompt's and the new ones
  std::unique_ptr<GeneratedText> text;  // null where none is wanted or possible
  SequenceCache cache;
  PrefixCache::Place place = {};  // behind the last block that the prefix cache knows
  std::int64_t known_blocks = 0;  // how many those are
  std::int64_t patience = 0;      // steps in which it had to wait
  std::int64_t planned = 0;       // tokens in the coming step
  bool waits = true;
  std::optional<StopReason> ending = {};  // set: it has ended, or is cancelled
  /// Of a guided request: the sequence beside it, and which of the two has the negative prompt.
  ActiveSequence* partner = nullptr;
  bool negative = false;
  /// A beam or one of two partners that knows what its next token may be, and waits for the others.
  bool scored = false;
  std::vector<float> scores = {};      // then: log-probabilities, a beam's after its processors
  std::vector<float> raw_logits = {};  // and the logits, where they are wanted
  /// Tokens that are guessed to come next and are checked in the coming step.
  std::vector<std::int64_t> draft = {};
  DraftLength draft_length = {};
  std::optional<SequenceCache> draft_cache = {};  // of the draft model

  /// Another one with the same past, which shares the blocks; without text and partner, and as new
  /// to the scheduler.
  std::unique_ptr<ActiveSequence> fork() const {
    return std::make_unique<ActiveSequence>(ActiveSequence{.request = request,
                                                           .number = number,
                                                           .ids = ids,
                                                           .text = nullptr,
                                                           .cache = cache.fork(),
                                                           .place = place,
                                                           .known_blocks = known_blocks});
  }
  /// Takes the draft off the end of ids, where it stands while a model runs.
  void take_draft_off() { ids.resize(ids.size() - draft.size()); }

  std::int64_t length() const { return std::ssize(ids); }
  /// Tokens that have not gone through the model.
  std::int64_t pending() const { return length() - cache.length(); }
  /// Length that picks the rotary frequencies of a token.
  std::int64_t rotary_length(std::int64_t token) const {
    return std::max(negative ? request->negative_length() : request->prompt_length(), token + 1);
  }
  /// Whether all rows of its prompt are wanted, and are still to come.
  bool takes_prompt_rows() const {
    return !negative && !request->prompt_done && request->wants_all_rows();
  }
  /// Its priority and 2^n - 1, n the times that it waited 256 steps: after 33 of them it goes
  /// before any priority.
  std::int64_t urgency() const {
    constexpr std::int64_t kStepsOfPatience = 256;
    constexpr std::int64_t kMostTimes = 40;
    const std::int64_t times = std::min(patience / kStepsOfPatience, kMostTimes);
    return request->wanted.priority + (std::int64_t{1} << times) - 1;
  }
  /// Which of two goes first. One that waits for others comes last, or it might keep the memory
  /// that they wait for.
  bool goes_before(const ActiveSequence& other) const {
    if (scored != other.scored) return other.scored;
    if (urgency() != other.urgency()) return urgency() > other.urgency();
    if (request->id != other.request->id) return request->id < other.request->id;
    return number != other.number ? number < other.number : !negative && other.negative;
  }
};

}  // namespace diffllama
