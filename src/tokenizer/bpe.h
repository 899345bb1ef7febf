#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// Fields of a "BPE" model in tokenizer.json.
struct BpeOptions {
  std::optional<std::string> unk_token;  // absent: characters that are not in the vocabulary vanish
  std::string continuing_subword_prefix;  // before each character but the first
  std::string end_of_word_suffix;         // after the last character
  bool fuse_unk = false;                  // a run of unknown characters is one unk_token
  bool byte_fallback = false;  // unknown characters become tokens like <0x0A>, if all exist
  bool ignore_merges = false;  // a piece that is a token is that token
};

/// The pairs that merge: (left id, right id) -> rank and id of the merged token.
class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank, id;
  };
  MergeTable();
  /// A pair that is there already takes the new values.
  void set(std::uint32_t left, std::uint32_t right, Merge merge);
  const Merge* find(std::uint32_t left, std::uint32_t right) const;
  /// (left id, right id) of all, by rank.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs() const;

 private:
  struct Slot {
    std::uint64_t pair;
    Merge merge;
  };
  std::size_t slot_of(std::uint64_t pair) const;
  void grow();

  std::uint64_t seed_;  // random, so that a file cannot make all pairs collide
  std::size_t used_ = 0;
  std::vector<Slot> slots_;  // open addressing, a power of two
};

/// Byte pair encoding (arXiv 1508.07909): starting from characters, the adjacent pair of lowest
/// rank is merged until none is left.
class Bpe : public TokenizerModel {
 public:
  /// `vocabulary` is finished.
  Bpe(Vocabulary vocabulary, BpeOptions options);
  /// Adds the next merge in rank. Throws FormatError when a part or the result is not in the
  /// vocabulary.
  void add_merge(std::string_view left, std::string_view right);
  /// A merge whose rank may be that of others: of these the leftmost in a text comes first.
  void set_merge(std::uint32_t left, std::uint32_t right, MergeTable::Merge merge);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<TokenizerModel::Encoder> make_encoder() const override;
  std::optional<std::uint32_t> unk_id() const override { return unk_id_; }
  std::string_view continuing_subword_prefix() const override {
    return options_.continuing_subword_prefix;
  }
  /// Up to the first "\u2581" (SentencePiece's blank) after another character, where no merge joins
  /// the two: words, then, as in Llama 2's vocabulary.
  std::size_t independent_prefix(std::string_view piece) const override;
  /// The merges by rank, as ids of their parts; of a pair that came twice, the last.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> merges() const;

  /// Tokenizes pieces one after another, with scratch memory of its own.
  class Encoder : public TokenizerModel::Encoder {
   public:
    explicit Encoder(const Bpe& bpe) : bpe_(bpe) {}
    /// Appends the tokens of `piece` (UTF-8) to `tokens`, in O(n log n). Throws FormatError for an
    /// unknown character when unk_token is not in the vocabulary.
    void encode(std::string_view piece, std::vector<PieceToken>& tokens) override;

   private:
    static constexpr std::uint32_t kNone = UINT32_MAX;
    struct Symbol {
      std::uint32_t id, previous, next;
      std::uint32_t length;  // bytes; 0: merged into an earlier one
    };
    struct Candidate {
      std::uint32_t rank, position, id;
      bool operator>(const Candidate& other) const {
        return rank != other.rank ? rank > other.rank : position > other.position;
      }
    };
    void add_symbol(std::uint32_t id, std::size_t length);
    void split_into_symbols(std::string_view piece);
    bool add_byte_tokens(std::string_view character);
    void push_candidate(std::uint32_t position);
    void merge_symbols();

    const Bpe& bpe_;
    std::vector<Symbol> symbols_;
    std::vector<Candidate> candidates_;  // a heap, lowest rank and then leftmost first
    std::string scratch_;
  };

 private:
  std::optional<std::uint32_t> id_of_character(std::string_view character, bool first, bool last,
                                               std::string& scratch) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::optional<std::uint32_t> unk_id_;
  MergeTable merges_;
  std::uint32_t merge_count_ = 0;
  bool words_are_independent_;
  std::array<std::int32_t, 0x180> id_of_low_character_{};  // -1: not in the vocabulary
};

}  // namespace diffllama
