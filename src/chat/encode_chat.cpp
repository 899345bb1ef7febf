#include <algorithm>
#include <array>

#include "diffllama/chat.h"

namespace diffllama {
namespace {

// Tokens that models end a turn with, by the text that they have in every vocabulary known to us.
constexpr std::array<std::string_view, 14> kEndOfTurn = {
    "<|eot_id|>",      "<|im_end|>",
    "<|end|>",         "<end_of_turn>",
    "<|endoftext|>",   "<|end_of_text|>",
    "<|eom_id|>",      "<EOT>",
    "_<EOT>",          "<|END_OF_TURN_TOKEN|>",
    "<|end_of_turn|>", "<|im_sep_end|>",
    "<turn|>",         "<｜end▁of▁sentence｜>"};

}  // namespace

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
  for (const std::string_view token : kEndOfTurn) add(tokenizer.token_to_id(token));
  return ids;
}

}  // namespace diffllama
