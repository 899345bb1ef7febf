#include "tokenizer/end_tokens.h"

#include <algorithm>
#include <iterator>

namespace diffllama {
namespace {

// Ends of texts and turns, then the padding and the separators of fill-in-the-middle models.
constexpr std::string_view kEndTokens[] = {"<|eot_id|>",    "<|eom_id|>",
                                           "<|im_end|>",    "<|end|>",
                                           "<|return|>",    "<|call|>",
                                           "<|calls|>",     "<|flush|>",
                                           "<|endoftext|>", "<|end_of_text|>",
                                           "<end_of_turn>", "<end_of_utterance>",
                                           "<turn|>",       "<|tool_response>",
                                           "</s>",          "<eos>",
                                           "<EOT>",         "_<EOT>",
                                           "[EOT]",         "[EOS]",
                                           "[e~[",          "<｜end▁of▁sentence｜>",
                                           "<|fim_pad|>",   "<fim-pad>",
                                           "<fim_pad>",     "<PAD>",
                                           "[PAD]",         "<|fim_repo|>",
                                           "<|repo_name|>", "<fim-repo>",
                                           "<REPO>",        "<reponame>",
                                           "<|file_sep|>"};

}  // namespace

bool is_end_token(std::string_view text) {
  return std::ranges::find(kEndTokens, text) != std::end(kEndTokens);
}

std::vector<std::string_view> known_end_tokens(const std::function<bool(std::string_view)>& has) {
  std::vector<std::string_view> known;
  for (const std::string_view text : kEndTokens) {
    if (has(text)) known.push_back(text);
  }
  const bool calls = has("<|call|>") || has("<|calls|>");
  if (calls && (has("<|return|>") || has("<|flush|>"))) std::erase(known, "<|end|>");
  if (has("<|tool_response>") || has("<|plamo:eos|>")) std::erase(known, "</s>");
  return known;
}

}  // namespace diffllama
