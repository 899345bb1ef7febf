#include "checkpoint/directory_texts.h"

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
constexpr const char* kConfig = "config.json";
constexpr const char* kGenerationConfig = "generation_config.json";

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
  const auto read = [&](const char* name) {
    std::string text = read_file_if_there(directory / name);
    refuse_lfs_pointer(std::as_bytes(std::span(text)), (directory / name).string());
    return text;
  };
  DirectoryTexts texts;
  texts.directory = directory.string();
  texts.config = read(kConfig);
  texts.generation_config = read(kGenerationConfig);
  for (const TokenizerFile& file : kTokenizerFiles) {
    texts.tokenizer.*file.content = read(file.name);
  }
  if (const TokenizerFile* const counting = counting_file(texts.tokenizer)) {
    texts.tokenizer.where = (directory / counting->name).string();
  }
  texts.chat_templates = directory_chat_templates(directory, texts.tokenizer.tokenizer_config);
  return texts;
}

std::map<std::string, std::string> directory_files(const DirectoryTexts& texts) {
  std::map<std::string, std::string> files;
  if (!texts.config.empty()) files[kConfig] = config_for_every_version(texts.config, kConfig);
  if (!texts.generation_config.empty()) files[kGenerationConfig] = texts.generation_config;
  for (const TokenizerFile& file : kTokenizerFiles) {
    const std::string& text = texts.tokenizer.*file.content;
    if (!text.empty()) files[file.name] = text;
  }
  if (const auto found = files.find(kTokenizerConfig); found != files.end()) {
    found->second = tokenizer_config_for_every_version(found->second, kTokenizerConfig);
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
