#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>

namespace diffllama {

/// The files that a Hugging Face tokenizer is made of, empty where there is none.
struct TokenizerFiles {
  std::string where;  // the path of the one that counts (counting_file), for messages
  std::string tokenizer_json;
  std::string tokenizer_config;
  std::string special_tokens_map;
  std::string added_tokens = {};
  std::string tiktoken_model = {};   // of any bytes
  std::string tokenizer_model = {};  // SentencePiece's, or of tiktoken's lines; of any bytes

  /// What stands in for an absent tokenizer.json.
  const std::string& model_file() const {
    return tiktoken_model.empty() ? tokenizer_model : tiktoken_model;
  }

  /// The path of a file beside the one that counts.
  std::string beside(const char* name) const {
    return (std::filesystem::path(where).parent_path() / name).string();
  }
};

/// Keys of GGUF files that hold such a file as it is; tokenizer.huggingface.json is one that GGUF
/// defines.
inline constexpr const char* kTokenizerJsonKey = "tokenizer.huggingface.json";
inline constexpr const char* kTokenizerConfigKey = "diffllama.tokenizer_config";
inline constexpr const char* kSpecialTokensMapKey = "diffllama.special_tokens_map";

/// One of them: its name in a directory, and its key in a GGUF file.
struct TokenizerFile {
  const char* name;
  const char* gguf_key;
  std::string TokenizerFiles::*content;
  bool is_vocabulary;  // one of these makes a tokenizer, the others only change it
  bool is_text;        // others are kept in base64 there, as GGUF's strings are UTF-8
};

/// All of them, in the order in which vocabularies count.
inline constexpr std::array<TokenizerFile, 6> kTokenizerFiles = {
    {{"tokenizer.json", kTokenizerJsonKey, &TokenizerFiles::tokenizer_json, true, true},
     {"tiktoken.model", "diffllama.tiktoken_model", &TokenizerFiles::tiktoken_model, true, false},
     {"tokenizer.model", "diffllama.tokenizer_model", &TokenizerFiles::tokenizer_model, true,
      false},
     {"tokenizer_config.json", kTokenizerConfigKey, &TokenizerFiles::tokenizer_config, false, true},
     {"special_tokens_map.json", kSpecialTokensMapKey, &TokenizerFiles::special_tokens_map, false,
      true},
     {"added_tokens.json", "diffllama.added_tokens", &TokenizerFiles::added_tokens, false, true}}};

/// The first vocabulary that is there; nullptr where none is.
inline const TokenizerFile* counting_file(const TokenizerFiles& files) {
  const auto* const found = std::ranges::find_if(kTokenizerFiles, [&](const TokenizerFile& file) {
    return file.is_vocabulary && !(files.*file.content).empty();
  });
  return found == kTokenizerFiles.end() ? nullptr : found;
}

}  // namespace diffllama
