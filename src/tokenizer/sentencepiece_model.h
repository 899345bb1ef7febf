#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/sentencepiece_file.h"
#include "tokenizer/tokenizer_model.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace diffllama {

/// A SentencePiece model run by its own library, without its normalizer: what comes before (blanks
/// as U+2581, a dummy prefix) is said by the rest of the tokenizer.
class SentencePieceModel : public TokenizerModel {
 public:
  /// `file` is what parse_sentencepiece made of `bytes`. Throws FormatError that starts with
  /// `where` for what the library refuses.
  SentencePieceModel(const SentencePieceFile& file, std::string_view bytes,
                     const std::string& where);
  ~SentencePieceModel() override;
  SentencePieceModel(const SentencePieceModel&) = delete;
  SentencePieceModel& operator=(const SentencePieceModel&) = delete;
  SentencePieceModel(SentencePieceModel&&) = delete;
  SentencePieceModel& operator=(SentencePieceModel&&) = delete;

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<Encoder> make_encoder() const override;
  std::optional<std::uint32_t> unk_id() const override;
  /// A word of a BPE model that has no piece of more than one.
  std::size_t independent_prefix(std::string_view piece) const override;

 private:
  class LibraryEncoder;

  Vocabulary vocabulary_;
  bool words_are_independent_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace diffllama
