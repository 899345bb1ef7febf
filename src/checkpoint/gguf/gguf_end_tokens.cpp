#include "checkpoint/gguf/gguf_end_tokens.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "checkpoint/gguf/gguf_config.h"
#include "config/generation_config.h"
#include "tokenizer/end_tokens.h"

namespace diffllama {
namespace {

constexpr std::uint64_t kMaxTokens = 1'000'000;  // a tokenizer has no more either

std::vector<std::int64_t> known_by_text(const GgufFile& file) {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  if (file.array_size(kTokens) > kMaxTokens) return {};
  const std::vector<std::string_view> tokens = file.texts(kTokens);
  constexpr std::string_view kElsewhere = "<|plamo:eos|>";  // of meaning to the others
  std::set<std::string_view> seen;
  for (const std::string_view text : tokens) {
    if (is_end_token(text) || text == kElsewhere) seen.insert(text);
  }
  const auto ends = known_end_tokens([&](std::string_view text) { return seen.contains(text); });
  std::vector<std::int64_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!seen.contains(tokens[id])) continue;
    if (std::ranges::find(ends, tokens[id]) != ends.end()) {
      ids.push_back(static_cast<std::int64_t>(id));
    }
  }
  return ids;
}

}  // namespace

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
