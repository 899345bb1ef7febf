#include "checkpoint/directory_texts.h"

#include <array>
#include <span>
#include <utility>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/lfs_pointer.h"
#include "base/regular_file.h"
#include "config/model_config.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr const char* kChatTemplate = "chat_template.jinja";
constexpr std::array<std::pair<const char*, std::string DirectoryTexts::*>, 8> kFiles = {
    {{"config.json", &DirectoryTexts::config},
     {"generation_config.json", &DirectoryTexts::generation_config},
     {"tokenizer.json", &DirectoryTexts::tokenizer_json},
     {kTokenizerConfig, &DirectoryTexts::tokenizer_config},
     {"special_tokens_map.json", &DirectoryTexts::special_tokens_map},
     {"added_tokens.json", &DirectoryTexts::added_tokens},
     {"tokenizer.model", &DirectoryTexts::tokenizer_model},
     {"tiktoken.model", &DirectoryTexts::tiktoken_model}}};

}  // namespace

std::string tokenizer_config_for_every_version(const std::string& text, const std::string& where) {
  json config = parse_json(text, where);
  if (!config.is_object()) return text;
  bool changed = false;
  if (const auto name = config.find("tokenizer_class");
      name != config.end() && name->is_string() &&
      name->get_ref<const std::string&>() == "TokenizersBackend") {
    *name = "PreTrainedTokenizerFast";
    changed = true;
  }
  if (const auto extra = config.find("extra_special_tokens");
      extra != config.end() && extra->is_array() && !config.contains("additional_special_tokens")) {
    json tokens = *extra;
    config.erase(extra);
    config["additional_special_tokens"] = std::move(tokens);
    changed = true;
  }
  if (!changed) return text;
  return config.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

DirectoryTexts read_directory_texts(const fs::path& directory) {
  DirectoryTexts texts;
  texts.directory = directory.string();
  for (const auto& [name, text] : kFiles) {
    texts.*text = read_file_if_there(directory / name);
    refuse_lfs_pointer(std::as_bytes(std::span(texts.*text)), (directory / name).string());
  }
  texts.chat_templates = directory_chat_templates(directory, texts.tokenizer_config);
  return texts;
}

std::map<std::string, std::string> directory_files(const DirectoryTexts& texts) {
  std::map<std::string, std::string> files;
  for (const auto& [name, member] : kFiles) {
    std::string text = texts.*member;
    if (text.empty()) continue;
    if (member == &DirectoryTexts::config) text = config_for_every_version(text, name);
    if (member == &DirectoryTexts::tokenizer_config) {
      text = tokenizer_config_for_every_version(text, name);
    }
    files[name] = text;
  }
  set_chat_templates(texts.chat_templates, files);
  return files;
}

void set_chat_templates(const ChatTemplates& templates, std::map<std::string, std::string>& files) {
  const auto file = files.find(kTokenizerConfig);
  const std::string text = file == files.end() ? "" : file->second;
  if (templates == config_chat_templates(text, kTokenizerConfig)) return;
  files.erase(kChatTemplate);
  if (templates.size() == 1 && templates.contains("default")) {
    files[kChatTemplate] = templates.at("default");
    return;
  }
  json config = text.empty() ? json::object() : parse_json(text, kTokenizerConfig);
  json list = json::array();
  for (const auto& [name, source] : templates) {
    list.push_back({{"name", name}, {"template", source}});
  }
  config["chat_template"] = std::move(list);
  files[kTokenizerConfig] = config.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

void write_directory_texts(const fs::path& directory, const DirectoryTexts& texts) {
  for (const auto& [name, text] : directory_files(texts)) {
    write_file_atomically(directory / name, text);
  }
}

}  // namespace diffllama
