#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "diffllama/generation_config.h"

namespace diffllama {

/// transformers' WatermarkLogitsProcessor: adds a bias to the tokens of a "green list", a share of
/// the vocabulary that is drawn anew for each token, seeded with the tokens before it. Its random
/// numbers are torch's (randperm of a CPU generator), so that transformers' detector finds the
/// mark.
class Watermark {
 public:
  explicit Watermark(const WatermarkingConfig& config);

  /// `scores` [V] are changed; fewer ids than context_width change nothing.
  void apply(std::span<float> scores, std::span<const std::int64_t> ids);

 private:
  std::uint32_t seed_of(std::span<const std::int64_t> context) const;
  /// The first `count` of a random permutation of 0..V-1.
  std::span<const std::int32_t> draw(std::uint32_t seed, std::size_t vocabulary, std::size_t count);
  void add_self_hashed(std::span<float> scores, std::span<const std::int64_t> ids,
                       std::size_t count);

  WatermarkingConfig config_;
  std::vector<std::int32_t> hash_table_;  // of selfhash
  std::vector<std::int32_t> permutation_, order_;
  std::vector<std::int64_t> context_;
};

}  // namespace diffllama
