#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "diffllama/tokenizer.h"
#include "tokenizer/gguf_vocabulary.h"

namespace diffllama {

/// A tokenizer from a tokenizer.json, or from a directory that holds one. A tokenizer_config.json
/// and a special_tokens_map.json beside it name the special tokens, as in transformers, where
/// tokenizer.json alone decides what is added to a text (add_bos_token is not read).
Tokenizer load_tokenizer(const std::filesystem::path& path, const WarningHandler& warn);

/// The text of a tokenizer.json and of the files beside it, empty where there is none. `where`
/// stands for the file in messages.
struct TokenizerFiles {
  std::string where;
  std::string_view tokenizer_json;
  std::string_view tokenizer_config;
  std::string_view special_tokens_map;
};
Tokenizer parse_tokenizer(const TokenizerFiles& files, const WarningHandler& warn);

/// A tokenizer from a GGUF file's metadata, as transformers converts it. Throws FormatError that
/// starts with `where`.
Tokenizer make_tokenizer(const GgufVocabulary& vocabulary, const std::string& where);

}  // namespace diffllama
