#include "checkpoint/chat_templates.h"

#include <string_view>
#include <system_error>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kDefault = "default";

}  // namespace

ChatTemplates directory_chat_templates(const fs::path& directory,
                                       const std::string& tokenizer_config) {
  ChatTemplates templates;
  std::error_code error;
  for (const char* folder : {"chat_templates", "additional_chat_templates"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory / folder, error)) {
      if (entry.path().extension() == ".jinja") {
        templates[entry.path().stem().string()] = read_file(entry.path());
      }
    }
  }
  const fs::path single = directory / "chat_template.jinja";
  if (fs::exists(single, error)) templates[kDefault] = read_file(single);
  if (!templates.empty()) return templates;
  return config_chat_templates(tokenizer_config, (directory / "tokenizer_config.json").string());
}

ChatTemplates config_chat_templates(const std::string& tokenizer_config, const std::string& where) {
  if (tokenizer_config.empty()) return {};
  const json config = parse_json(tokenizer_config, where);
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (found == config.end() || found->is_null()) return {};
  const auto refuse = [&](const json& value) {
    throw FormatError(where + ": chat_template: expected a text, or a list of objects with name " +
                      "and template, got " + json_excerpt(value));
  };
  if (found->is_string()) return {{kDefault, found->get<std::string>()}};
  if (!found->is_array()) refuse(*found);
  ChatTemplates templates;
  for (const json& named : *found) {
    if (!named.is_object() || !named.contains("name") || !named["name"].is_string() ||
        !named.contains("template") || !named["template"].is_string()) {
      refuse(named);
    }
    templates[named["name"].get<std::string>()] = named["template"].get<std::string>();
  }
  return templates;
}

ChatTemplates gguf_chat_templates(const GgufFile& file) {
  constexpr std::string_view kKey = kChatTemplateKey;
  const std::string prefix = std::string(kKey) + ".";
  ChatTemplates templates;
  for (const auto& [key, value] : file.metadata()) {
    if (key == kKey) templates[kDefault] = *file.text(key);
    if (key.starts_with(prefix)) {
      templates[std::string(key.substr(prefix.size()))] = *file.text(key);
    }
  }
  return templates;
}

void write_gguf_chat_templates(const ChatTemplates& templates, GgufWriter& out) {
  const std::string key = kChatTemplateKey;
  std::vector<std::string> names;
  for (const auto& [name, source] : templates) {
    if (name == kDefault) {
      if (!source.empty()) out.set(key, source);
      continue;
    }
    names.push_back(name);
    out.set(key + "." + name, source);
  }
  if (!names.empty()) out.set(key + "s", names);
}

}  // namespace diffllama
