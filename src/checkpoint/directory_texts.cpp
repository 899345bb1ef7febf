#include "checkpoint/directory_texts.h"

#include <array>
#include <utility>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/regular_file.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array<std::pair<const char*, std::string DirectoryTexts::*>, 5> kFiles = {
    {{"config.json", &DirectoryTexts::config},
     {"generation_config.json", &DirectoryTexts::generation_config},
     {"tokenizer.json", &DirectoryTexts::tokenizer_json},
     {"tokenizer_config.json", &DirectoryTexts::tokenizer_config},
     {"special_tokens_map.json", &DirectoryTexts::special_tokens_map}}};
constexpr const char* kChatTemplate = "chat_template.jinja";

}  // namespace

std::string chat_template_of(const std::string& tokenizer_config, const std::string& where) {
  if (tokenizer_config.empty()) return "";
  const json config = parse_json(tokenizer_config, where);
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return "";
  for (const json& named : *found) {
    if (!named.is_object()) continue;
    const auto name = named.find("name");
    const auto text = named.find("template");
    if (name != named.end() && *name == "default" && text != named.end() && text->is_string()) {
      return text->get<std::string>();
    }
  }
  return "";
}

DirectoryTexts read_directory_texts(const fs::path& directory) {
  DirectoryTexts texts;
  texts.directory = directory.string();
  for (const auto& [name, text] : kFiles) texts.*text = read_file_if_there(directory / name);
  texts.chat_template = read_file_if_there(directory / kChatTemplate);
  if (texts.chat_template.empty()) {
    texts.chat_template =
        chat_template_of(texts.tokenizer_config, (directory / "tokenizer_config.json").string());
  }
  return texts;
}

std::map<std::string, std::string> directory_files(const DirectoryTexts& texts) {
  std::map<std::string, std::string> files;
  for (const auto& [name, text] : kFiles) {
    if (!(texts.*text).empty()) files[name] = texts.*text;
  }
  if (texts.chat_template != chat_template_of(texts.tokenizer_config, "tokenizer_config.json")) {
    files[kChatTemplate] = texts.chat_template;
  }
  return files;
}

void write_directory_texts(const fs::path& directory, const DirectoryTexts& texts) {
  for (const auto& [name, text] : directory_files(texts)) {
    write_file_atomically(directory / name, text);
  }
}

}  // namespace diffllama
