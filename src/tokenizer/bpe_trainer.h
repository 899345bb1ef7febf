#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/training_words.h"

namespace diffllama {

struct BpeTrainerOptions {
  std::size_t vocab_size = 0;         // with `reserved` and `alphabet`
  std::uint64_t min_frequency = 2;    // of a pair that is merged
  std::vector<std::string> reserved;  // tokens that come first, and that no merge may make
  std::vector<std::string> alphabet;  // the characters that follow; others divide words
};

struct TrainedBpe {
  std::vector<std::string> tokens;  // by id
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Byte pair encoding (arXiv 1508.07909): merges the most frequent pair of neighbours, of equal
/// ones that of the lower ids, until there are `vocab_size` tokens or no pair is frequent enough.
TrainedBpe train_bpe(const std::vector<TrainingWord>& words, const BpeTrainerOptions& options);

}  // namespace diffllama
