#include "checkpoint/gguf/gguf_tokenizer.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/base64.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_types.h"
#include "config/warnings.h"
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

// float32, or int32 in some old files.
std::vector<float> read_scores(const GgufFile& file) {
  constexpr std::string_view kScores = "tokenizer.ggml.scores";
  const auto found = file.metadata().find(kScores);
  if (found == file.metadata().end()) return {};
  std::vector<float> scores;
  if (is_gguf_integer(found->second.type)) {
    for (const std::int64_t score : file.integers(kScores)) {
      scores.push_back(static_cast<float>(score));
    }
  } else {
    for (const double score : file.numbers(kScores)) scores.push_back(static_cast<float>(score));
  }
  return scores;
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
  vocabulary.eot_token_id = file.integer("tokenizer.ggml.eot_token_id");
  vocabulary.eom_token_id = file.integer("tokenizer.ggml.eom_token_id");
  vocabulary.add_bos_token = file.boolean("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos_token = file.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  vocabulary.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix");
  if (vocabulary.model == "llama") vocabulary.scores = read_scores(file);
  return vocabulary;
}

void write_gguf_special_ids(const GgufVocabulary& vocabulary, GgufWriter& out) {
  const auto set_id = [&](const char* key, const std::optional<std::int64_t>& id) {
    if (id) out.set(key, static_cast<std::uint32_t>(*id));
  };
  set_id("tokenizer.ggml.bos_token_id", vocabulary.bos_token_id);
  set_id("tokenizer.ggml.eos_token_id", vocabulary.eos_token_id);
  set_id("tokenizer.ggml.eot_token_id", vocabulary.eot_token_id);
  set_id("tokenizer.ggml.eom_token_id", vocabulary.eom_token_id);
  set_id("tokenizer.ggml.unknown_token_id", vocabulary.unknown_token_id);
  set_id("tokenizer.ggml.padding_token_id", vocabulary.padding_token_id);
}

void write_gguf_vocabulary(const GgufVocabulary& vocabulary, GgufWriter& out) {
  out.set("tokenizer.ggml.model", vocabulary.model);
  out.set("tokenizer.ggml.pre", vocabulary.pre);
  out.set("tokenizer.ggml.tokens", vocabulary.tokens);
  out.set("tokenizer.ggml.token_type", vocabulary.token_type);
  if (vocabulary.model == "llama") {
    out.set("tokenizer.ggml.scores", vocabulary.scores);
  } else {
    out.set("tokenizer.ggml.merges", vocabulary.merges);
  }
  write_gguf_special_ids(vocabulary, out);
  if (vocabulary.add_bos_token) {
    out.set("tokenizer.ggml.add_bos_token", *vocabulary.add_bos_token);
  }
  out.set("tokenizer.ggml.add_eos_token", vocabulary.add_eos_token);
  out.set("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix.value_or(false));
}

void warn_of_missing_pre(const GgufVocabulary& vocabulary, const std::string& where,
                         const WarningHandler& warn) {
  if (vocabulary.model != "gpt2" || !vocabulary.pre.empty()) return;
  emit_warning(warn, where +
                         ": key \"tokenizer.ggml.pre\": none, text is split as GPT-2's tokenizer "
                         "splits it, which may not be the model's way");
}

std::optional<TokenizerFiles> read_gguf_tokenizer_files(const GgufFile& file) {
  TokenizerFiles files;
  for (const TokenizerFile& each : kTokenizerFiles) {
    const auto text = file.text(each.gguf_key);
    if (!text) continue;
    const std::optional<std::string> content =
        each.is_text ? std::string(*text) : decode_base64(*text);
    if (!content) {
      file.refuse(each.gguf_key, "base64", "a text of " + std::to_string(text->size()) + " bytes");
    }
    files.*each.content = *std::move(content);
  }
  const TokenizerFile* const counting = counting_file(files);
  if (counting == nullptr) return std::nullopt;
  files.where = file.where() + ": " + counting->gguf_key;
  return files;
}

void write_gguf_tokenizer_files(const TokenizerFiles& files, GgufWriter& out) {
  for (const TokenizerFile& each : kTokenizerFiles) {
    const std::string& content = files.*each.content;
    if (!content.empty()) out.set(each.gguf_key, each.is_text ? content : encode_base64(content));
  }
}

Tokenizer read_gguf_tokenizer(const GgufFile& file, const WarningHandler& warn) {
  if (const auto files = read_gguf_tokenizer_files(file)) {
    return parse_tokenizer(*files, warn);
  }
  const GgufVocabulary vocabulary = read_gguf_vocabulary(file);
  warn_of_missing_pre(vocabulary, file.where(), warn);
  return make_tokenizer(vocabulary, file.where());
}

}  // namespace diffllama
