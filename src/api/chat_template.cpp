#include <array>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "diffllama/chat.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Texts = std::map<std::string, std::string>;  // by name

constexpr std::array<const char*, 7> kSpecialTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

json read_object(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return json::object();
  json object = parse_json(read_file(path), path.string());
  if (!object.is_object()) {
    throw FormatError(path.string() + ": expected an object, got " + json_excerpt(object));
  }
  return object;
}

// chat_template.jinja and a folder of named ones.
Texts template_files(const fs::path& directory) {
  Texts templates;
  std::error_code error;
  for (const char* folder : {"chat_templates", "additional_chat_templates"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory / folder, error)) {
      if (entry.path().extension() == ".jinja") {
        templates[entry.path().stem().string()] = read_file(entry.path());
      }
    }
  }
  const fs::path single = directory / "chat_template.jinja";
  if (fs::exists(single, error)) templates["default"] = read_file(single);
  return templates;
}

// chat_template of tokenizer_config.json: a text, or a list of {"name", "template"}.
Texts config_templates(const json& config, const std::string& where) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return {};
  const auto refuse = [&](const json& value) {
    throw FormatError(where + ": chat_template: expected a text, or a list of objects with name " +
                      "and template, got " + json_excerpt(value));
  };
  if (found->is_string()) return {{"default", found->get<std::string>()}};
  if (!found->is_array()) refuse(*found);
  Texts templates;
  for (const json& named : *found) {
    if (!named.is_object() || !named.contains("name") || !named["name"].is_string() ||
        !named.contains("template") || !named["template"].is_string()) {
      refuse(named);
    }
    templates[named["name"].get<std::string>()] = named["template"].get<std::string>();
  }
  return templates;
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

Texts gguf_templates(const GgufFile& file) {
  Texts templates;
  const std::string prefix = std::string(kChatTemplateKey) + ".";
  for (const auto& [key, value] : file.metadata()) {
    if (key == kChatTemplateKey) templates["default"] = *file.text(key);
    if (key.starts_with(prefix)) {
      templates[std::string(key.substr(prefix.size()))] = *file.text(key);
    }
  }
  return templates;
}

Texts gguf_special_tokens(const GgufFile& file) {
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
  Texts templates, tokens;
  std::string where = path.string();
  if (path.extension() == ".gguf") {
    const GgufFile file(path);
    templates = gguf_templates(file);
    tokens = gguf_special_tokens(file);
  } else {
    const fs::path directory = fs::is_directory(path) ? path : path.parent_path();
    const fs::path config_path = directory / "tokenizer_config.json";
    const json config = read_object(config_path);
    templates = template_files(directory);
    if (templates.empty()) templates = config_templates(config, config_path.string());
    tokens = special_tokens(config, read_object(directory / "special_tokens_map.json"));
  }
  if (!options.file.empty()) {
    templates = {{"default", read_file(options.file)}};
    where = options.file.string();
  }
  if (templates.empty()) return std::nullopt;
  return ChatTemplate(templates, tokens, where + ": chat template");
}

}  // namespace diffllama
