#include "tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/byte_level.h"

namespace diffllama {
class Unigram::UnigramEncoder : public TokenizerModel::Encoder {
 public:
  explicit UnigramEncoder(const Unigram& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<PieceToken>& tokens) override {
    find_best_path(piece);
    cuts_.clear();
    for (auto end = static_cast<std::uint32_t>(piece.size()); end > 0; end = best_[end].begin) {
      cuts_.push_back(end);
    }
    for (std::size_t i = cuts_.size(); i-- > 0;) {
      const std::uint32_t begin = best_[cuts_[i]].begin;
      if (best_[cuts_[i]].id != model_.options_.unk_id) {
        tokens.push_back({best_[cuts_[i]].id, begin, cuts_[i]});
        continue;
      }
      while (i > 0 && best_[cuts_[i - 1]].id == model_.options_.unk_id) --i;
      add_unknown(piece, begin, cuts_[i], tokens);
    }
  }

 private:
  struct Best {
    double score;         // of the best path that ends here
    std::uint32_t begin;  // of its last token
    std::uint32_t id;
  };
  static constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();

  // Viterbi's algorithm; of equal paths the one found first stays.
  void find_best_path(std::string_view piece) {
    best_.assign(piece.size() + 1, {0.0, kNowhere, 0});
    const auto offer = [&](std::size_t end, double score, std::size_t begin, std::uint32_t id) {
      Best& best = best_[end];
      if (best.begin != kNowhere && !(score > best.score)) return;
      best = {score, static_cast<std::uint32_t>(begin), id};
    };
    for (std::size_t begin = 0; begin < piece.size();) {
      const double score = best_[begin].score;
      const std::size_t length = code_point_at(piece, begin).length;
      bool has_character = false;
      std::uint32_t node = Trie::kRoot;
      for (std::size_t end = begin; end < piece.size();) {
        node = model_.trie_.next(node, piece[end++]);
        if (node == Trie::kNoNode) break;
        const std::int32_t id = model_.trie_.value(node);
        if (id == Trie::kNoValue) continue;
        has_character |= end == begin + length;
        offer(end, score + model_.scores_[static_cast<std::size_t>(id)], begin,
              static_cast<std::uint32_t>(id));
      }
      if (!has_character) {
        if (!model_.options_.unk_id) {
          throw FormatError(model_.vocabulary_.where() +
                            ": expected an unk_id, for the character " +
                            quote_token(piece.substr(begin, length)));
        }
        offer(begin + length, score + model_.unk_score_, begin, *model_.options_.unk_id);
      }
      begin += length;
    }
  }

  void add_unknown(std::string_view piece, std::uint32_t begin, std::uint32_t end,
                   std::vector<PieceToken>& tokens) const {
    const std::string_view run = piece.substr(begin, end - begin);
    // Together its characters may be a token that lost to them.
    if (const auto id = model_.vocabulary_.id_of(run)) return tokens.push_back({*id, begin, end});
    const auto has_token = [&](char byte) {
      return model_.byte_ids_[static_cast<unsigned char>(byte)] >= 0;
    };
    if (!model_.options_.byte_fallback || !std::all_of(run.begin(), run.end(), has_token)) {
      return tokens.push_back({*model_.options_.unk_id, begin, end});
    }
    for (const char byte : run) {
      const std::int32_t id = model_.byte_ids_[static_cast<unsigned char>(byte)];
      tokens.push_back({static_cast<std::uint32_t>(id), begin, end});
    }
  }

  const Unigram& model_;
  std::vector<Best> best_;           // by byte of the piece
  std::vector<std::uint32_t> cuts_;  // the best path's, backwards
};

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, UnigramOptions options)
    : vocabulary_(std::move(vocabulary)),
      scores_(std::move(scores)),
      options_(options),
      trie_(vocabulary_.entries()) {
  if (options_.unk_id && *options_.unk_id >= scores_.size()) {
    throw FormatError(vocabulary_.where() + ": expected an unk_id below " +
                      std::to_string(scores_.size()) + ", the number of tokens, got " +
                      std::to_string(*options_.unk_id));
  }
  constexpr double kUnknownPenalty = 10.0;
  double least = std::numeric_limits<double>::infinity();
  for (const double score : scores_) least = std::min(least, score);
  unk_score_ = least - kUnknownPenalty;
  for (unsigned byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto id = vocabulary_.id_of(byte_token(static_cast<unsigned char>(byte)));
    byte_ids_[byte] = id ? static_cast<std::int32_t>(*id) : -1;
  }
}

std::unique_ptr<TokenizerModel::Encoder> Unigram::make_encoder() const {
  return std::make_unique<UnigramEncoder>(*this);
}

}  // namespace diffllama
