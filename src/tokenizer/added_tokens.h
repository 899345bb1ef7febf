#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/source_text.h"
#include "tokenizer/vocabulary.h"

namespace diffllama {

/// An entry of "added_tokens" in tokenizer.json: a token that is found in the text before the model
/// sees it.
struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character stands beside it
  bool lstrip = false;       // takes the whitespace before it
  bool rstrip = false;       // takes the whitespace after it
  bool normalized = true;    // its normalized form is found in the normalized text
  bool special = false;      // left out by decode(skip_special_tokens)
};

/// Finds the longest of many literals at a place in a text.
class LiteralSet {
 public:
  struct Literal {
    std::string text;
    std::int32_t id;
  };
  /// The texts differ and are not empty.
  void assign(std::vector<Literal> literals);
  bool empty() const { return literals_.empty(); }
  /// The longest literal that stands at `at` and that `accept` takes, or nullptr.
  template <class Accept>
  const Literal* longest_at(std::string_view text, std::size_t at, const Accept& accept) const;

 private:
  std::vector<Literal> literals_;           // sorted by text
  std::array<std::uint32_t, 257> first_{};  // where the literals that start with a byte begin
};

/// The tokens that were added to a model's vocabulary.
class AddedVocabulary {
 public:
  /// Adds a token, or gives one that is there new flags. Its id is the one it has here or in
  /// `vocabulary`, or else the next free one, which is returned; with `stated`, the one it has here
  /// or that. Throws FormatError that starts with `where` for content that is empty or too long,
  /// and for a stated id that another added token has.
  std::int32_t add(AddedToken token, const Vocabulary& vocabulary, const std::string& where,
                   std::optional<std::int32_t> stated = std::nullopt);
  /// Makes the token of this content special; false if there is none.
  bool make_special(const std::string& content);
  /// Readies matching, once every token is in; `normalizer` may be null. Of tokens whose normalized
  /// forms are equal a special one is found, else the one of the smallest id (the tokenizers
  /// library takes any of them). An empty form cuts the text between all characters, as it does
  /// there.
  void finish(const Normalizer* normalizer, const std::string& where);

  const AddedToken* find(const std::string& content) const;
  std::optional<std::int32_t> id_of(std::string_view content) const;
  /// What decoders see for an id: the normalized content if it is matched so.
  const std::string* decoded(std::int64_t id) const;
  const std::string* content(std::int64_t id) const;
  bool is_special(const std::string& decoded) const { return special_.contains(decoded); }
  /// Whether text that is not trusted may never become this id: special tokens, and those written
  /// like <|...|>, which chat templates use as such whether or not they are marked special.
  bool is_control(std::int32_t id) const;
  /// One past the largest id; 0 without tokens.
  std::int64_t id_limit() const;

  /// Cuts the segments that are not tokens yet at the tokens that are (or are not) `normalized`.
  /// Control tokens match only in trusted parts of `source`, which `text` was made from.
  std::vector<Segment> split(const SourceText& source, const AlignedText& text,
                             const std::vector<Segment>& segments, bool normalized) const;

 private:
  struct Entry {
    AddedToken token;
    std::string decoded;
  };
  void split_segment(const SourceText& source, const AlignedText& whole, const Segment& segment,
                     const LiteralSet& literals, const AddedToken* empty,
                     std::vector<Segment>& cut) const;

  std::map<std::int32_t, Entry> tokens_;  // by id
  std::map<std::string, std::int32_t, std::less<>> id_of_content_;
  std::unordered_set<std::string> special_;  // contents
  LiteralSet raw_, normalized_;
  std::optional<std::int32_t> empty_;  // a token whose normalized form is empty
};

}  // namespace diffllama
