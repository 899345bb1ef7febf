#include "tasks/tagged_text.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "base/utf8.h"
#include "tasks/characters.h"

namespace diffllama {
namespace {

// A text's tokens with their places in it, bytes, and 1 for special ones.
struct Pieces {
  std::vector<std::int64_t> ids;
  std::vector<TokenOffset> offsets;
  std::vector<std::uint8_t> special;

  void add(std::int64_t id, TokenOffset offset, bool is_special) {
    ids.push_back(id);
    offsets.push_back(offset);
    special.push_back(is_special ? 1 : 0);
  }
};

// Special tokens before and behind a text stay when it loses its end.
void truncate(Pieces& pieces, std::size_t most) {
  if (pieces.ids.size() <= most) return;
  const auto first = std::ranges::find(pieces.special, 0);
  const auto before = static_cast<std::size_t>(first - pieces.special.begin());
  const auto end = std::find(pieces.special.rbegin(), pieces.special.rend(), 0).base();
  const auto after = static_cast<std::size_t>(pieces.special.end() - end);
  const std::size_t kept = most > before + after ? most - before - after : 0;
  const auto cut = [&](auto& list) {
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(before + kept),
               list.end() - static_cast<std::ptrdiff_t>(after));
  };
  cut(pieces.ids);
  cut(pieces.offsets);
  cut(pieces.special);
}

Pieces encode_text(const Tokenizer& tokenizer, std::string_view text) {
  const Encoding encoding = tokenizer.encode(text);
  Pieces pieces;
  for (std::size_t t = 0; t < encoding.ids.size(); ++t) {
    pieces.add(encoding.ids[t], encoding.offsets[t], encoding.special_tokens_mask[t] != 0);
  }
  return pieces;
}

// Each word by itself, special tokens around them all; `sentence` gets the words with spaces
// between.
Pieces encode_words(const Tokenizer& tokenizer, const std::vector<std::string>& words,
                    std::string& sentence) {
  const Encoding frame = tokenizer.encode("");
  const Encoding whole = tokenizer.encode("a");
  const auto first = std::ranges::find(whole.special_tokens_mask, 0);
  const auto before = static_cast<std::size_t>(first - whole.special_tokens_mask.begin());
  Pieces pieces;
  for (std::size_t t = 0; t < std::min(before, frame.ids.size()); ++t) {
    pieces.add(frame.ids[t], {}, true);
  }
  for (std::size_t w = 0; w < words.size(); ++w) {
    if (w > 0) sentence += ' ';
    const std::size_t at = sentence.size();
    const std::string word = replace_invalid_utf8(words[w]);
    sentence += word;
    const Encoding encoding = tokenizer.encode(word, /*add_special_tokens=*/false);
    for (std::size_t t = 0; t < encoding.ids.size(); ++t) {
      const TokenOffset offset = encoding.offsets[t];
      pieces.add(encoding.ids[t], {at + offset.begin, at + offset.end}, false);
    }
  }
  for (std::size_t t = before; t < frame.ids.size(); ++t) pieces.add(frame.ids[t], {}, true);
  return pieces;
}

}  // namespace

TaggedText encode_tagged(const Tokenizer& tokenizer, const TagInput& input) {
  std::string sentence = input.words ? "" : replace_invalid_utf8(input.text);
  Pieces pieces = input.words ? encode_words(tokenizer, *input.words, sentence)
                              : encode_text(tokenizer, sentence);
  if (tokenizer.model_max_length()) {
    truncate(pieces, static_cast<std::size_t>(*tokenizer.model_max_length()));
  }
  const Characters characters(sentence);
  const bool marks_words = !tokenizer.continuing_subword_prefix().empty();
  TaggedText text;
  text.ids = pieces.ids;
  for (std::size_t t = 0; t < pieces.ids.size(); ++t) {
    if (pieces.special[t] != 0) continue;
    TextToken token;
    token.index = static_cast<std::int64_t>(t);
    token.word = tokenizer.id_to_token(pieces.ids[t]);
    token.start = characters.at_byte(pieces.offsets[t].begin);
    token.end = characters.at_byte(pieces.offsets[t].end);
    const std::string_view written = characters.slice(token.start, token.end);
    // Without marks a token begins a word where there is a space at its start or before it.
    token.continues =
        marks_words
            ? count_code_points(token.word) != count_code_points(written)
            : token.start > 0 && characters.slice(token.start - 1, token.start + 1).find(' ') ==
                                     std::string_view::npos;
    if (pieces.ids[t] == tokenizer.unk_token_id()) {
      token.word = written;
      token.continues = false;
    }
    text.tokens.push_back(std::move(token));
  }
  return text;
}

}  // namespace diffllama
