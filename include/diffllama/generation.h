#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffllama/generation_config.h"
#include "diffllama/model.h"
#include "diffllama/tokenizer.h"

namespace [[gnu::visibility("default")]] diffllama {

/// Why a sequence ended; cancelled: by whoever asked for it (diffllama/engine.h).
enum class StopReason { eos, length, stop_string, cancelled };

/// "eos", "length", "stop_string" or "cancelled".
const char* stop_reason_name(StopReason reason);

struct GeneratedSequence {
  std::int64_t prompt_index = 0;
  std::vector<std::int64_t> ids;  // the new tokens, a final EOS included
  std::string text;               // of `ids`, without special tokens; empty without a tokenizer
  StopReason stop_reason = StopReason::length;
  float score = 0;  // of beam search, see Ending in diffllama/engine.h
};

/// Called for every new token with the text it completes (whole UTF-8 characters; may be empty).
/// sequence counts the returned sequences: prompt * num_return_sequences + i. Tokens of beam search
/// come when it ends.
using TokenCallback =
    std::function<void(std::int64_t sequence, std::int64_t id, const std::string& text)>;

/// Continues each prompt (token ids) of one batch. A sequence's tokens do not depend on the batch
/// around it. The tokenizer is needed for stop_strings and text only. Throws InvalidArgument for
/// options out of range and prompts that are empty or hold ids outside the vocabulary.
/// `assistant_model`, where there is one, is a smaller model of the same vocabulary that guesses
/// tokens ahead, which changes none of them. `negative_prompts`, one for each prompt where there
/// are any, take the place of config.negative_prompt_ids; an empty one: its prompt's last token.
std::vector<GeneratedSequence> generate(
    const Model& model, std::span<const std::vector<std::int64_t>> prompts,
    const GenerationConfig& config, const Tokenizer* tokenizer = nullptr,
    const TokenCallback& on_token = {}, const Model* assistant_model = nullptr,
    std::span<const std::vector<std::int64_t>> negative_prompts = {});

/// One sequence of a caller who runs the model: chooses its next tokens as `generate` does, and
/// tells their text and when it ends. Options that need more of the model than logits (beams,
/// guidance, speculation, max_time) say nothing here.
class Continuation {
 public:
  struct Token {
    std::int64_t id = 0;
    std::string text;  // what it completes: whole UTF-8 characters; may be empty
  };

  /// Of `prompt`, by the options of `config`, whose eos_token_ids end it (the model's, where it
  /// should end at those, are for the caller to put there). `tokenizer`, which must outlive it, may
  /// be null: then there is no text, and stop_strings are refused. `stream` tells sequences of one
  /// seed apart: each draws its own. Throws InvalidArgument for options out of range.
  Continuation(const GenerationConfig& config, std::vector<std::int64_t> prompt,
               const Tokenizer* tokenizer = nullptr, std::uint64_t stream = 0);
  ~Continuation();
  Continuation(Continuation&&) noexcept;
  Continuation& operator=(Continuation&&) noexcept;

  /// The next token, from the logits [V] of the last of ids(), which are changed. Throws
  /// InvalidArgument after the end, Error where the logits hold NaN.
  Token next(std::span<float> logits);

  /// next() in its four steps, for who has something to say in between, as of the scores of a whole
  /// batch. First what comes before logits_processors, which are the caller's to call, on the
  /// logits [V]; throws Error where they hold NaN.
  void adjust(std::span<float> logits);
  /// Then what comes after them, on their scores [V]: the constraint, what sampling alone uses, the
  /// watermark and renormalize_logits.
  void warp(std::span<float> scores);
  /// Then a draw, or the largest score. Throws Error where every token is ruled out.
  std::int64_t choose(std::span<const float> scores);
  /// Then the sequence has that token, or another. Throws InvalidArgument after the end.
  Token push(std::int64_t id);

  /// Why it has ended; nothing while it goes on.
  std::optional<StopReason> stop_reason() const;
  /// Ends the text before the sequence does: gives what was held back of it.
  std::string finish();
  const std::vector<std::int64_t>& ids() const;  // the prompt's and the new ones
  std::string text() const;                      // of the new ones, without special tokens

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
