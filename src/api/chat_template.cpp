#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/chat_templates.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "checkpoint/model_path.h"
#include "diffllama/chat.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Texts = ChatTemplates;  // by name

constexpr std::array<const char*, 7> kSpecialTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// Empty text stands for an absent file.
json parse_object(const std::string& text, const fs::path& path) {
  if (text.empty()) return json::object();
  json object = parse_json(text, path.string());
  if (!object.is_object()) {
    throw FormatError(path.string() + ": expected an object, got " + json_excerpt(object));
  }
  return object;
}

Texts special_tokens(const json& config, const json& map) {
  Texts tokens;
  for (const json* source : {&config, &map}) {
    for (const char* name : kSpecialTokens) {
      if (tokens.contains(name) || !source->contains(name)) continue;
      const json& token = (*source)[name];
      if (token.is_string()) tokens[name] = token.get<std::string>();
      if (token.is_object() && token.contains("content") && token["content"].is_string()) {
        tokens[name] = token["content"].get<std::string>();
      }
    }
  }
  return tokens;
}

Texts gguf_special_tokens(const GgufFile& file) {
  if (const auto config = file.text(kTokenizerConfigKey)) {  // a directory's, as it was
    const std::string map(file.text(kSpecialTokensMapKey).value_or(""));
    return special_tokens(
        parse_object(std::string(*config), file.where() + ": " + kTokenizerConfigKey),
        parse_object(map, file.where() + ": " + kSpecialTokensMapKey));
  }
  const GgufVocabulary vocabulary = read_gguf_vocabulary(file);
  Texts tokens;
  const auto add = [&](const char* name, const std::optional<std::int64_t>& id) {
    if (id && *id >= 0 && *id < static_cast<std::int64_t>(vocabulary.tokens.size())) {
      tokens[name] = vocabulary.tokens[static_cast<std::size_t>(*id)];
    }
  };
  add("bos_token", vocabulary.bos_token_id);
  add("eos_token", vocabulary.eos_token_id);
  add("unk_token", vocabulary.unknown_token_id);
  add("pad_token", vocabulary.padding_token_id);
  return tokens;
}

}  // namespace

std::optional<ChatTemplate> ChatTemplate::from_pretrained(const fs::path& path,
                                                          const ChatTemplateOptions& options) {
  const fs::path found = find_tokenizer(path);
  Texts templates, tokens;
  std::string where = found.string();
  if (found.extension() == ".gguf") {
    const GgufFile file(found);
    templates = gguf_chat_templates(file);
    tokens = gguf_special_tokens(file);
  } else {
    const fs::path directory = fs::is_directory(found) ? found : found.parent_path();
    const fs::path config_path = directory / "tokenizer_config.json";
    const fs::path map_path = directory / "special_tokens_map.json";
    const std::string config = read_file_if_there(config_path);
    templates = directory_chat_templates(directory, config);
    tokens = special_tokens(parse_object(config, config_path),
                            parse_object(read_file_if_there(map_path), map_path));
  }
  if (!options.file.empty()) {
    templates = {{"default", read_file(options.file)}};
    where = options.file.string();
  }
  if (templates.empty()) return std::nullopt;
  return ChatTemplate(templates, tokens, where + ": chat template");
}

}  // namespace diffllama
