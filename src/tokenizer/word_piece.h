#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tokenizer/tokenizer_model.h"
#include "tokenizer/trie.h"

namespace diffllama {

/// Fields of a "WordPiece" model in tokenizer.json.
struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";  // before each token but the first
  std::uint64_t max_input_chars_per_word = 100;  // longer words are unknown
};

/// BERT's model: again and again the longest token that the rest of a word begins with; a word that
/// cannot be cut so is unknown.
class WordPiece : public TokenizerModel {
 public:
  /// `vocabulary` is finished. An unk_token that is not in it is an error when it is needed.
  WordPiece(Vocabulary vocabulary, WordPieceOptions options);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<Encoder> make_encoder() const override;
  std::optional<std::uint32_t> unk_id() const override { return unk_id_; }
  std::string_view continuing_subword_prefix() const override {
    return options_.continuing_subword_prefix;
  }

 private:
  class WordPieceEncoder;

  Vocabulary vocabulary_;
  WordPieceOptions options_;
  std::optional<std::uint32_t> unk_id_;
  Trie trie_;
  std::uint32_t continuing_;  // the node after the prefix
};

}  // namespace diffllama
