#include "checkpoint/gguf/gguf_end_tokens.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "checkpoint/gguf/gguf_config.h"
#include "config/generation_config.h"

namespace diffllama {
namespace {

constexpr std::uint64_t kMaxTokens = 1'000'000;  // a tokenizer has no more either

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

// Where these stand together, "<|end|>" and "</s>" are something else.
struct Known {
  bool returns = false, calls = false, flushes = false, tool_response = false;
  void see(std::string_view text) {
    returns = returns || text == "<|return|>";
    calls = calls || text == "<|call|>" || text == "<|calls|>";
    flushes = flushes || text == "<|flush|>";
    tool_response = tool_response || text == "<|tool_response>";
  }
  bool rules_out(std::string_view text) const {
    if (text == "<|end|>") return calls && (returns || flushes);
    return text == "</s>" && tool_response;
  }
};

std::vector<std::int64_t> known_by_text(const GgufFile& file) {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  if (file.array_size(kTokens) > kMaxTokens) return {};
  const std::vector<std::string_view> tokens = file.texts(kTokens);
  Known known;
  for (const std::string_view text : tokens) known.see(text);
  std::vector<std::int64_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (is_end_token(tokens[id]) && !known.rules_out(tokens[id])) {
      ids.push_back(static_cast<std::int64_t>(id));
    }
  }
  return ids;
}

}  // namespace

bool is_end_token(std::string_view text) {
  return std::ranges::find(kEndTokens, text) != std::end(kEndTokens);
}

void add_end_tokens(const std::vector<std::int64_t>& more, std::vector<std::int64_t>& ids) {
  for (const std::int64_t id : more) {
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
}

std::vector<std::int64_t> gguf_end_tokens(const GgufFile& file) {
  std::vector<std::int64_t> ids;
  for (const char* name : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    if (const auto id = file.integer(std::string("tokenizer.ggml.") + name)) {
      add_end_tokens({*id}, ids);
    }
  }
  if (!file.text(kConfigKey)) add_end_tokens(known_by_text(file), ids);
  return ids;
}

GenerationConfig read_gguf_generation_config(const GgufFile& file, const WarningHandler& warn) {
  const auto text = file.text(kGenerationConfigKey);
  if (!text) return {};
  GenerationConfig config =
      parse_generation_config(*text, file.where() + ": " + std::string(kGenerationConfigKey), warn);
  // An empty list is the model's own, which has them.
  if (!config.eos_token_ids.empty()) add_end_tokens(gguf_end_tokens(file), config.eos_token_ids);
  return config;
}

}  // namespace diffllama
