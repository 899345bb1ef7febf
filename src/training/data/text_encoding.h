#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/tokenizer.h"

namespace diffllama {

/// Tokenizer::encode, its errors as FormatError that starts with `where`, the place of the text.
Encoding encode_at(const Tokenizer& tokenizer, std::string_view text, const std::string& where,
                   bool add_special_tokens);

/// What a tokenizer's post-processor puts around a text: [BOS] before it, say.
struct SpecialTokens {
  std::vector<std::int64_t> before, after;
  std::int64_t count() const { return static_cast<std::int64_t>(before.size() + after.size()); }
};

SpecialTokens special_tokens_around(const Tokenizer& tokenizer);

/// Tokens of a sentence's words, each encoded by itself, so that no token lies in two words. A word
/// that follows a space begins with one, where the tokenizer does not put one before every text.
class WordEncoder {
 public:
  explicit WordEncoder(const Tokenizer& tokenizer);
  std::vector<std::int64_t> encode(const std::string& word, bool space_before) const;

 private:
  const Tokenizer& tokenizer_;
  bool adds_space_;  // the tokenizer itself
};

}  // namespace diffllama
