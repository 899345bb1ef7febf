#include "tokenizer/word_level.h"

#include <utility>

#include "diffllama/error.h"

namespace diffllama {

class WordLevel::WordLevelEncoder : public TokenizerModel::Encoder {
 public:
  explicit WordLevelEncoder(const WordLevel& model) : model_(model) {}
  void encode(std::string_view piece, std::vector<PieceToken>& tokens) override {
    auto id = model_.vocabulary_.id_of(piece);
    if (!id) id = model_.unk_id_;
    if (!id) {
      throw FormatError(model_.vocabulary_.where() + ": expected unk_token " +
                        quote_token(model_.unk_token_) + " in the vocabulary, for the word " +
                        quote_token(piece));
    }
    tokens.push_back({*id, 0, static_cast<std::uint32_t>(piece.size())});
  }

 private:
  const WordLevel& model_;
};

WordLevel::WordLevel(Vocabulary vocabulary, std::string unk_token)
    : vocabulary_(std::move(vocabulary)),
      unk_token_(std::move(unk_token)),
      unk_id_(vocabulary_.id_of(unk_token_)) {}

std::unique_ptr<TokenizerModel::Encoder> WordLevel::make_encoder() const {
  return std::make_unique<WordLevelEncoder>(*this);
}

}  // namespace diffllama
