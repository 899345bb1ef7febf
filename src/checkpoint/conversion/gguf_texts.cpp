#include "checkpoint/conversion/gguf_texts.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/json.h"
#include "checkpoint/chat_templates.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using nlohmann::json;

// tokenizer_config.json of a vocabulary that came without one.
std::string tokenizer_config(const GgufVocabulary& vocabulary, const ModelConfig& config) {
  json fields = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", config.max_position_embeddings}};
  const auto name = [&](const char* field, const std::optional<std::int64_t>& id) {
    if (id) fields[field] = vocabulary.tokens.at(static_cast<std::size_t>(*id));
  };
  name("bos_token", vocabulary.bos_token_id);
  name("eos_token", vocabulary.eos_token_id);
  name("unk_token", vocabulary.unknown_token_id);
  name("pad_token", vocabulary.padding_token_id);
  return fields.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

DirectoryTexts read_gguf_texts(const GgufFile& file, const ModelConfig& config,
                               const WarningHandler& warn) {
  DirectoryTexts texts;
  texts.directory = file.where();
  texts.generation_config = file.text(kGenerationConfigKey).value_or("");
  texts.chat_templates = gguf_chat_templates(file);
  if (auto own = read_gguf_tokenizer_files(file)) {
    texts.tokenizer = *std::move(own);
    return texts;
  }
  const GgufVocabulary vocabulary = read_gguf_vocabulary(file);
  if (vocabulary.tokens.empty()) return texts;
  warn_of_missing_pre(vocabulary, file.where(), warn);
  try {
    texts.tokenizer.tokenizer_json = to_tokenizer_json(vocabulary, file.where());
  } catch (const FormatError& error) {
    emit_warning(warn, std::string(error.what()) + "; no tokenizer.json is written");
    return texts;
  }
  texts.tokenizer.tokenizer_config = tokenizer_config(vocabulary, config);
  return texts;
}

}  // namespace diffllama
