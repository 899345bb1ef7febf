#include "checkpoint/gguf/gguf_tokenizer.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/gguf/gguf_config.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

constexpr std::size_t kMaxTokenBytes = 65'536;

std::vector<std::string> read_texts(const GgufFile& file, std::string_view key) {
  const std::vector<std::string_view> texts = file.texts(key);
  for (const std::string_view text : texts) {
    if (text.size() > kMaxTokenBytes) {
      file.refuse(key, "texts of at most " + std::to_string(kMaxTokenBytes) + " bytes",
                  std::to_string(text.size()));
    }
  }
  return {texts.begin(), texts.end()};
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufFile& file) {
  GgufVocabulary vocabulary;
  vocabulary.model = file.text("tokenizer.ggml.model").value_or("");
  vocabulary.pre = file.text("tokenizer.ggml.pre").value_or("");
  vocabulary.tokens = read_texts(file, "tokenizer.ggml.tokens");
  vocabulary.merges = read_texts(file, "tokenizer.ggml.merges");
  constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
  for (const std::int64_t type : file.integers(kTypes)) {
    if (!std::in_range<std::int32_t>(type)) file.refuse(kTypes, "int32", std::to_string(type));
    vocabulary.token_type.push_back(static_cast<std::int32_t>(type));
  }
  vocabulary.bos_token_id = file.integer("tokenizer.ggml.bos_token_id");
  vocabulary.eos_token_id = file.integer("tokenizer.ggml.eos_token_id");
  vocabulary.unknown_token_id = file.integer("tokenizer.ggml.unknown_token_id");
  vocabulary.padding_token_id = file.integer("tokenizer.ggml.padding_token_id");
  vocabulary.add_bos_token = file.boolean("tokenizer.ggml.add_bos_token").value_or(false);
  vocabulary.add_eos_token = file.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  return vocabulary;
}

void write_gguf_vocabulary(const GgufVocabulary& vocabulary, GgufWriter& out) {
  out.set("tokenizer.ggml.model", vocabulary.model);
  out.set("tokenizer.ggml.pre", vocabulary.pre);
  out.set("tokenizer.ggml.tokens", vocabulary.tokens);
  out.set("tokenizer.ggml.token_type", vocabulary.token_type);
  out.set("tokenizer.ggml.merges", vocabulary.merges);
  const auto set_id = [&](const char* key, const std::optional<std::int64_t>& id) {
    if (id) out.set(key, static_cast<std::uint32_t>(*id));
  };
  set_id("tokenizer.ggml.bos_token_id", vocabulary.bos_token_id);
  set_id("tokenizer.ggml.eos_token_id", vocabulary.eos_token_id);
  set_id("tokenizer.ggml.unknown_token_id", vocabulary.unknown_token_id);
  set_id("tokenizer.ggml.padding_token_id", vocabulary.padding_token_id);
  out.set("tokenizer.ggml.add_bos_token", vocabulary.add_bos_token);
  out.set("tokenizer.ggml.add_eos_token", vocabulary.add_eos_token);
  out.set("tokenizer.ggml.add_space_prefix", false);
}

Tokenizer read_gguf_tokenizer(const GgufFile& file, const WarningHandler& warn) {
  const auto text = file.text(kTokenizerJsonKey);
  if (!text) return make_tokenizer(read_gguf_vocabulary(file), file.where());
  return parse_tokenizer(
      {file.where() + ": " + kTokenizerJsonKey, *text, file.text(kTokenizerConfigKey).value_or(""),
       file.text(kSpecialTokensMapKey).value_or("")},
      warn);
}

}  // namespace diffllama
