#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace diffllama {

/// The files of a Hugging Face directory besides its weights, empty where there is none.
struct DirectoryTexts {
  std::string directory;
  std::string config;              // config.json
  std::string generation_config;   // generation_config.json
  std::string tokenizer_json;      // tokenizer.json
  std::string tokenizer_config;    // tokenizer_config.json
  std::string special_tokens_map;  // special_tokens_map.json
  /// chat_template.jinja, else the chat_template of tokenizer_config.json (of several the one named
  /// default).
  std::string chat_template;
};

/// Throws IoError, and FormatError for a tokenizer_config.json that is not JSON.
DirectoryTexts read_directory_texts(const std::filesystem::path& directory);

/// Those that are not empty, by the files' names; chat_template.jinja only where
/// tokenizer_config.json does not hold it. Throws FormatError as read_directory_texts does.
std::map<std::string, std::string> directory_files(const DirectoryTexts& texts);

/// Writes directory_files(texts), each atomically. Throws IoError.
void write_directory_texts(const std::filesystem::path& directory, const DirectoryTexts& texts);

/// The chat template that the text of a tokenizer_config.json holds; empty without one.
std::string chat_template_of(const std::string& tokenizer_config, const std::string& where);

}  // namespace diffllama
