#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer_model.h"
#include "tokenizer/trie.h"

namespace diffllama {

/// Fields of a "Unigram" model in tokenizer.json.
struct UnigramOptions {
  std::optional<std::uint32_t> unk_id;  // absent: what is not in the vocabulary is an error
  bool byte_fallback = false;           // unknown runs become tokens like <0x0A>, if all exist
};

/// A unigram language model (arXiv 1804.10959): of all ways to cut a piece into tokens, the one
/// whose scores have the largest sum. Runs of unknown characters are one token.
class Unigram : public TokenizerModel {
 public:
  /// `vocabulary` is finished and not empty, its ids count from 0, and `scores` (log-probabilities)
  /// has one for each. Throws FormatError for an unk_id outside of it.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, UnigramOptions options);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<Encoder> make_encoder() const override;
  std::optional<std::uint32_t> unk_id() const override { return options_.unk_id; }
  bool unknown_keeps_text() const override { return true; }

 private:
  class UnigramEncoder;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  UnigramOptions options_;
  double unk_score_ = 0;
  Trie trie_;
  std::array<std::int32_t, 256> byte_ids_{};  // of <0x00> and so on; -1: not in the vocabulary
};

}  // namespace diffllama
