#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffllama/generation_config.h"
#include "generation/constraints/compiled_constraint.h"
#include "generation/logits_processors.h"
#include "generation/watermark.h"

namespace diffllama {

/// The first of the largest scores, as torch.argmax gives it.
std::int64_t argmax(std::span<const float> scores);

/// The token that `uniform` in [0, 1) falls on when [0, 1) is divided by softmax(scores), tokens in
/// ascending order. Throws Error when every token is ruled out or a score is infinite.
std::int64_t sample(std::span<const float> scores, double uniform, LogitsScratch& scratch);

/// What a token is chosen for.
struct SelectionContext {
  std::span<const std::int64_t> ids;  // the prompt's and the new ones
  std::int64_t prompt_length = 0;
  std::uint64_t stream = 0;  // picks the sequence's own random numbers
};

/// Chooses the next token of a sequence from its logits, as transformers' `generate` does: its
/// processors in its order (generation/utils.py, _get_logits_processor) with logit_bias, the
/// presence and frequency penalties and the constraint beside them; then a draw, or the largest
/// score.
class TokenSelector {
 public:
  /// `config` has no problem (config/generation_config.h); eos_token_ids are those that end a
  /// sequence, whatever the config says of them.
  TokenSelector(GenerationConfig config, std::vector<std::int64_t> eos_token_ids);

  /// `scores` [V] are the logits, and are changed. The draw depends on the seed, the stream and the
  /// number of new tokens alone. Throws Error when the logits hold NaN.
  std::int64_t select(std::span<float> scores, const SelectionContext& context);

  /// Changes the logits of a beam to what its next tokens add to its score: log_softmax, then the
  /// processors; those of sampling keep one token more than there are to end with. `stream` tells
  /// beams apart. Throws Error when the logits hold NaN.
  void score_beam(std::span<float> scores, const SelectionContext& context);

  /// Changes logits to the scores that the choice is made from: adjust, config.logits_processors,
  /// and warp.
  void process(std::span<float> scores, const SelectionContext& context);

  /// What comes before config.logits_processors.
  void adjust(std::span<float> scores, const SelectionContext& context);

  /// What comes after them.
  void warp(std::span<float> scores, const SelectionContext& context);

  /// A token by the scores that process leaves.
  std::int64_t choose(std::span<const float> scores, const SelectionContext& context);

  /// Throws Error when the logits hold NaN.
  static void refuse_nan(std::span<const float> logits, const SelectionContext& context);

 private:
  bool samples() const { return config_.do_sample && config_.temperature > 0; }
  void ban(std::span<float> scores, const SelectionContext& context);
  void force_ends(std::span<float> scores, const SelectionContext& context);
  void constrain(std::span<float> scores, const SelectionContext& context);
  bool is_too_short(const SelectionContext& context) const;
  std::string no_end(const SelectionContext& context) const;
  void warp_for_sampling(std::span<float> scores);
  /// The likeliest tokens that are never ruled out by what sampling alone uses.
  std::int64_t least_kept() const;

  GenerationConfig config_;
  std::vector<std::int64_t> eos_token_ids_;
  std::vector<SequenceBias> biases_, bad_words_;  // logit_bias among them; each sequence once
  std::optional<Watermark> watermark_;
  std::map<std::uint64_t, ConstraintCursor> cursors_;  // by stream
  std::vector<std::uint64_t> allowed_;
  LogitsScratch scratch_;
};

}  // namespace diffllama
