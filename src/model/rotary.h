#pragma once

#include <cstdint>
#include <vector>

#include "diffllama/config.h"

namespace diffllama {

/// The rotation of one sequence: pair i of a head turns by position * inverse[i] radians.
struct RotaryFrequencies {
  std::vector<float> inverse;      // head_dim / 2 inverse frequencies
  float attention_scaling = 1.0F;  // cos and sin are multiplied by it

  /// cos and sin of head_dim / 2 angles at one position, times attention_scaling. The angle is
  /// rounded to float32, as transformers does.
  void cos_sin(std::int64_t position, float* cos, float* sin) const;
};

/// Rotary frequencies of a model, by transformers' modeling_rope_utils.py: the same operations in
/// the same order and precision. Powers are rounded correctly, where torch's vectorised powf is off
/// by one bit for about 2 % of arguments.
class RotaryEmbedding {
 public:
  /// `config` has passed validate(). Throws ConfigError when its rotary settings are so extreme
  /// that a frequency is not finite.
  explicit RotaryEmbedding(const ModelConfig& config);

  /// The frequencies for a sequence of `sequence_length` positions (the largest position plus one).
  /// Only dynamic and longrope depend on it.
  RotaryFrequencies frequencies(std::int64_t sequence_length) const {
    RotaryFrequencies own;
    return frequencies(sequence_length, own);
  }
  /// The same, borrowed from this where they are ready-made, else from `own`, which takes them.
  const RotaryFrequencies& frequencies(std::int64_t sequence_length, RotaryFrequencies& own) const;
  /// Equal for lengths that have the same frequencies.
  std::int64_t length_class(std::int64_t sequence_length) const;

 private:
  RotaryFrequencies dynamic(std::int64_t sequence_length) const;

  RopeType type_ = RopeType::default_rope;
  std::int64_t head_dim_ = 0;
  double theta_ = 0;
  double factor_ = 1;                 // dynamic
  std::int64_t max_positions_ = 0;    // dynamic: the longest sequence with the first frequencies
  std::int64_t short_positions_ = 0;  // longrope: the same
  RotaryFrequencies first_;           // of short sequences; of all for the other types
  RotaryFrequencies long_;            // longrope
};

}  // namespace diffllama
