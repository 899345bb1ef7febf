#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "diffllama/engine.h"
#include "engine/prefix_cache.h"
#include "generation/generated_text.h"
#include "generation/token_selector.h"
#include "model/kv_cache.h"

namespace diffllama {

/// New tokens of a sequence that memory is prepared for when it begins; more comes as it is needed.
inline constexpr std::int64_t kPreparedTokens = 4096;

/// A request that was taken in, shared by its sequences.
struct ActiveRequest {
  RequestId id = 0;
  Request wanted;
  std::vector<std::int64_t> eos_token_ids;
  TokenSelector selector;
  std::int64_t max_length = 0;  // of a sequence, in tokens
  bool prompt_done = false;     // its result was given out
  /// Rows of the prompt that went into `prompt`: after a preemption they are not taken again.
  std::int64_t prompt_rows = 0;
  PromptResult prompt = {};

  bool wants_all_rows() const {
    return wanted.prompt_logprobs.has_value() || wanted.hidden_states == PromptStates::all;
  }
  std::int64_t prompt_length() const { return std::ssize(wanted.ids); }
  /// Of a sequence; the last new token never enters the cache.
  std::int64_t max_keys() const { return wanted.prompt_only ? prompt_length() : max_length - 1; }
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

  std::int64_t length() const { return std::ssize(ids); }
  /// Tokens that have not gone through the model.
  std::int64_t pending() const { return length() - cache.length(); }
  /// Length that picks the rotary frequencies of a token.
  std::int64_t rotary_length(std::int64_t token) const {
    return std::max(request->prompt_length(), token + 1);
  }
  std::int64_t urgency() const {
    constexpr std::int64_t kStepsOfPatience = 256;
    return request->wanted.priority + patience / kStepsOfPatience;
  }
  /// Which of two goes first.
  bool goes_before(const ActiveSequence& other) const {
    if (urgency() != other.urgency()) return urgency() > other.urgency();
    if (request->id != other.request->id) return request->id < other.request->id;
    return number < other.number;
  }
};

}  // namespace diffllama
