#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/chat_templates.h"
#include "tokenizer/tokenizer_files.h"

namespace diffllama {

/// The files of a Hugging Face directory besides its weights, empty where there is none.
struct DirectoryTexts {
  std::string directory;
  std::string config;             // config.json
  std::string generation_config;  // generation_config.json
  TokenizerFiles tokenizer;
  ChatTemplates chat_templates;
};

/// Throws IoError, and FormatError for a tokenizer_config.json that is not JSON.
DirectoryTexts read_directory_texts(const std::filesystem::path& directory);

/// Those that are not empty, by the files' names, with set_chat_templates. What transformers before
/// 5 cannot read in config.json and tokenizer_config.json is written so that they can. Throws
/// FormatError.
std::map<std::string, std::string> directory_files(const DirectoryTexts& texts);

/// Makes `files`, of one directory, hold these templates where its tokenizer_config.json does not:
/// one alone in chat_template.jinja, several as the list that tokenizer_config.json may hold, which
/// every version of transformers reads. Throws FormatError.
void set_chat_templates(const ChatTemplates& templates, std::map<std::string, std::string>& files);

/// Writes directory_files(texts), each atomically. Throws IoError, FormatError.
void write_directory_texts(const std::filesystem::path& directory, const DirectoryTexts& texts);

/// The text of a tokenizer_config.json with names that transformers 5 and the versions before both
/// know: the class TokenizersBackend is PreTrainedTokenizerFast there, a list of
/// extra_special_tokens is additional_special_tokens. Text that needs no change stays as it is.
std::string tokenizer_config_for_every_version(const std::string& text, const std::string& where);

}  // namespace diffllama
