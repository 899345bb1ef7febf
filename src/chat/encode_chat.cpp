#include <algorithm>

#include "diffllama/chat.h"
#include "tokenizer/end_tokens.h"

namespace diffllama {

std::vector<std::int64_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat,
                                      bool allow_special_in_content) {
  std::vector<TextPart> parts;
  std::size_t begin = 0;
  for (const RenderedChat::Part& part : chat.parts) {
    parts.push_back({std::string_view(chat.text).substr(begin, part.size),
                     part.trusted || allow_special_in_content});
    begin += part.size;
  }
  return tokenizer.encode(parts, false).ids;
}

std::vector<std::int64_t> end_of_turn_token_ids(const Tokenizer& tokenizer) {
  std::vector<std::int64_t> ids;
  const auto add = [&](std::optional<std::int64_t> id) {
    if (id && std::ranges::find(ids, *id) == ids.end()) ids.push_back(*id);
  };
  add(tokenizer.eos_token_id());
  const auto has = [&](std::string_view text) { return tokenizer.token_to_id(text).has_value(); };
  for (const std::string_view token : known_end_tokens(has)) add(tokenizer.token_to_id(token));
  return ids;
}

}  // namespace diffllama
