#include "tokenizer/word_piece.h"

#include <utility>
#include <vector>

#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {

class WordPiece::WordPieceEncoder : public TokenizerModel::Encoder {
 public:
  explicit WordPieceEncoder(const WordPiece& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<PieceToken>& tokens) override {
    const std::size_t before = tokens.size();
    bool known = count_code_points(piece) <= model_.options_.max_input_chars_per_word;
    for (std::size_t at = 0; known && at < piece.size();) {
      known = add_longest(piece, at, tokens);
      if (known) at = tokens.back().end;
    }
    if (known) return;
    tokens.resize(before);
    if (!model_.unk_id_) {
      throw FormatError(model_.vocabulary_.where() + ": expected unk_token " +
                        quote_token(model_.options_.unk_token) +
                        " in the vocabulary, for the word " + quote_token(piece));
    }
    tokens.push_back({*model_.unk_id_, 0, static_cast<std::uint32_t>(piece.size())});
  }

 private:
  bool add_longest(std::string_view piece, std::size_t begin,
                   std::vector<PieceToken>& tokens) const {
    std::uint32_t node = begin == 0 ? Trie::kRoot : model_.continuing_;
    std::int32_t id = Trie::kNoValue;
    std::size_t end = begin;
    for (std::size_t at = begin; at < piece.size() && node != Trie::kNoNode;) {
      node = model_.trie_.next(node, piece[at++]);
      if (node == Trie::kNoNode || model_.trie_.value(node) == Trie::kNoValue) continue;
      id = model_.trie_.value(node);
      end = at;
    }
    if (id == Trie::kNoValue) return false;
    tokens.push_back({static_cast<std::uint32_t>(id), static_cast<std::uint32_t>(begin),
                      static_cast<std::uint32_t>(end)});
    return true;
  }

  const WordPiece& model_;
};

WordPiece::WordPiece(Vocabulary vocabulary, WordPieceOptions options)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      unk_id_(vocabulary_.id_of(options_.unk_token)),
      trie_(vocabulary_.entries()),
      continuing_(trie_.find(options_.continuing_subword_prefix)) {}

std::unique_ptr<TokenizerModel::Encoder> WordPiece::make_encoder() const {
  return std::make_unique<WordPieceEncoder>(*this);
}

}  // namespace diffllama
