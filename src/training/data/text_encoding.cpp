#include "training/data/text_encoding.h"

#include <algorithm>

#include "diffllama/error.h"

namespace diffllama {

Encoding encode_at(const Tokenizer& tokenizer, std::string_view text, const std::string& where,
                   bool add_special_tokens) {
  try {
    return tokenizer.encode(text, add_special_tokens);
  } catch (const Error& error) {
    throw FormatError(where + ": " + error.what());
  }
}

SpecialTokens special_tokens_around(const Tokenizer& tokenizer) {
  const std::vector<std::int64_t> text = tokenizer.encode("a", /*add_special_tokens=*/false).ids;
  const Encoding whole = tokenizer.encode("a");
  // Added tokens have empty places; those of the text have not.
  const auto in_text = [](const TokenOffset& offset) { return offset.begin < offset.end; };
  const auto first = std::ranges::find_if(whole.offsets, in_text) - whole.offsets.begin();
  const auto text_end = std::min(whole.ids.size(), static_cast<std::size_t>(first) + text.size());
  SpecialTokens special;
  special.before.assign(whole.ids.begin(), whole.ids.begin() + first);
  special.after.assign(whole.ids.begin() + static_cast<std::ptrdiff_t>(text_end), whole.ids.end());
  return special;
}

WordEncoder::WordEncoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  const auto ids = tokenizer.encode("a", /*add_special_tokens=*/false).ids;
  const std::string token = ids.empty() ? "" : tokenizer.id_to_token(ids[0]);
  adds_space_ = token.starts_with("\xC4\xA0") || token.starts_with("\xE2\x96\x81");  // Ġ, ▁
}

std::vector<std::int64_t> WordEncoder::encode(const std::string& word, bool space_before) const {
  const bool add = space_before && !adds_space_;
  return tokenizer_.encode(add ? " " + word : word, /*add_special_tokens=*/false).ids;
}

}  // namespace diffllama
