#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffllama/generation.h"
#include "diffllama/generation_config.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"
#include "diffllama/tokenizer.h"

namespace [[gnu::visibility("default")]] diffllama {

struct EngineOptions {
  /// Most memory of keys and values, in bytes: the budget of all requests together and of the
  /// prefix cache. It comes in blocks of 256 keys.
  std::size_t memory_bytes = std::size_t{1} << 30;
  /// Most tokens that go through the model in a step: running sequences' first, then pieces of
  /// prompts. Bounds how long a running sequence waits for its next token. >= 1.
  std::int64_t max_step_tokens = 512;
  /// Most sequences that run at once; the others wait. At most max_step_tokens of them run.
  std::int64_t max_sequences = 64;
  /// Keeps full blocks of sequences that ended, for prompts that begin with the same tokens.
  bool prefix_cache = true;
  CacheType cache_type = CacheType::automatic;  // automatic: the model's
  /// A smaller model of the same vocabulary, which guesses the next tokens of every request that
  /// does not look them up; null: none. It changes no token. Must outlive the engine; its keys and
  /// values are part of memory_bytes.
  const Model* assistant_model = nullptr;
};

/// Counts requests of an engine from 1.
using RequestId = std::uint64_t;

/// Which of a prompt's last hidden states (the final norm's output) a request wants.
enum class PromptStates { none, last, all };

/// A prompt to be continued, and what its owner wants back.
struct Request {
  std::vector<std::int64_t> ids;  // the prompt, at least one token
  GenerationConfig config;        // its own, with its own seed
  /// The larger goes first; requests of one priority go in the order they came. A
  /// request that waited 256 steps n times counts as 2^n - 1 higher, so that all get their turn.
  int priority = 0;
  /// Only runs the prompt; `config` says nothing then. For models without a language model's head
  /// too.
  bool prompt_only = false;
  bool text = true;  // the new tokens' text, where the engine has a tokenizer
  /// Log-probability of each new token, and of this many of the likeliest tokens in its place.
  std::optional<std::int64_t> logprobs;
  /// The same for the prompt's tokens but its first.
  std::optional<std::int64_t> prompt_logprobs;
  PromptStates hidden_states = PromptStates::none;
  bool logits = false;  // the model's logits that each new token was chosen from
};

/// log softmax(logits): of the model's own logits, before any processor.
struct TokenLogprobs {
  float logprob = 0;  // of the token itself
  struct Candidate {
    std::int64_t id;
    float logprob;
  };
  std::vector<Candidate> top;  // the likeliest first; of equal ones the lower id
};

/// A token that a request was continued with. Those of beam search come all at once, in the step in
/// which it ends.
struct NewToken {
  RequestId request = 0;
  std::int64_t sequence = 0;  // of the request's num_return_sequences
  std::int64_t id = 0;
  std::string text;  // what the token completes: whole UTF-8 characters; may be empty
  std::optional<TokenLogprobs> logprobs;
  std::vector<float> logits;  // [V]
};

/// What was asked of a prompt, once all of it is there.
struct PromptResult {
  RequestId request = 0;
  std::int64_t cached_tokens = 0;       // that the prefix cache held
  std::vector<TokenLogprobs> logprobs;  // of tokens 1, 2, ...
  Tensor hidden_states;                 // float32 [T, C] or [1, C]
};

/// A sequence that has ended; the request has, with the last of its sequences. A request of its
/// prompt alone ends with StopReason::length.
struct Ending {
  RequestId request = 0;
  std::int64_t sequence = 0;
  StopReason reason = StopReason::length;
  /// Of beam search: the sum of what its tokens added to its score (log-probabilities, where no
  /// processor changed them), divided by length^length_penalty; the first sequence has the largest.
  /// Minus infinity: a constraint has fewer texts than were asked for, and this is none.
  float score = 0;
};

/// A request that could not go on, with all its sequences.
struct Refusal {
  RequestId request = 0;
  std::string message;
};

/// What happened in a step, in this order for each sequence.
struct StepEvents {
  std::vector<PromptResult> prompts;
  std::vector<NewToken> tokens;
  std::vector<Ending> endings;
  std::vector<Refusal> refusals;
};

/// State of an engine after its last step. Blocks: of 256 keys.
struct EngineCounters {
  std::int64_t steps = 0;
  std::int64_t waiting = 0, running = 0;            // sequences
  std::int64_t blocks = 0;                          // the budget
  std::int64_t blocks_used = 0, blocks_shared = 0;  // held by a sequence; by several
  std::int64_t blocks_kept = 0;                     // held by the prefix cache alone
  std::int64_t prompt_tokens = 0, new_tokens = 0;   // so far; prompts without what was kept
  std::int64_t prefix_hit_tokens = 0;               // so far
  std::int64_t preemptions = 0;                     // so far
  /// Tokens that speculation guessed, and those of them that came, so far.
  std::int64_t drafted_tokens = 0, accepted_tokens = 0;
};

/// Runs requests that come and go. A request's tokens, logits and hidden states are, bit for bit,
/// those of running it alone: whatever runs beside it, however its prompt is cut, with the prefix
/// cache cold or warm, after its memory was taken away and recomputed.
///
/// One thread steps and destroys it; add(), cancel(), wait() and counters() may be called by any.
class Engine {
 public:
  /// `model`, which must not change, and `tokenizer`, where there is one (text and stop_strings
  /// need it), must outlive it. Throws InvalidArgument for options out of range and for less
  /// memory than one block takes.
  explicit Engine(const Model& model, const EngineOptions& options = {},
                  const Tokenizer* tokenizer = nullptr);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  /// Takes a request in; the next step sees it. Throws InvalidArgument for what `generate` refuses,
  /// and for a request whose longest sequence could never fit the memory, with both sizes.
  RequestId add(Request request);
  /// Frees what the request has, within the step that runs or comes next, which reports an ending
  /// with StopReason::cancelled for each of its sequences. Nothing happens where it has ended.
  void cancel(RequestId id);
  /// Whether a request waits or runs, or is about to be taken in or cancelled.
  bool has_work() const;
  /// Returns once has_work(), or after this many seconds.
  void wait(double seconds) const;

  /// One step: takes in and frees what was added and cancelled, runs at most max_step_tokens tokens
  /// and tells what happened, valid until the next step. When it throws, for want of memory, every
  /// request is as it was and may be stepped again.
  const StepEvents& step();

  EngineCounters counters() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
