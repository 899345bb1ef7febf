#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// "WordLevel" of tokenizer.json: each piece is one token, or the unknown one.
class WordLevel : public TokenizerModel {
 public:
  /// `vocabulary` is finished. An unk_token that is not in it is an error when it is needed.
  WordLevel(Vocabulary vocabulary, std::string unk_token);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<Encoder> make_encoder() const override;
  std::optional<std::uint32_t> unk_id() const override { return unk_id_; }

 private:
  class WordLevelEncoder;

  Vocabulary vocabulary_;
  std::string unk_token_;
  std::optional<std::uint32_t> unk_id_;
};

}  // namespace diffllama
