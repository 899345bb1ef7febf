#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_writer.h"
#include "diffllama/tokenizer.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {

/// The keys tokenizer.ggml.* of a GGUF file, for make_tokenizer (tokenizer/load_tokenizer.h), which
/// checks what they mean. A file without them, or whose model is "no_vocab", gives no tokens.
/// Throws FormatError for keys of other types, tokens over 65,536 bytes and more than 1,000,000 of
/// them.
GgufVocabulary read_gguf_vocabulary(const GgufFile& file);

/// Warns of a byte-level vocabulary that does not say how text is split.
void warn_of_missing_pre(const GgufVocabulary& vocabulary, const std::string& where,
                         const WarningHandler& warn);

/// Sets the ids of special tokens alone.
void write_gguf_special_ids(const GgufVocabulary& vocabulary, GgufWriter& out);

/// Sets those keys.
void write_gguf_vocabulary(const GgufVocabulary& vocabulary, GgufWriter& out);

/// A tokenizer.json verbatim, a key that GGUF defines.
inline constexpr const char* kTokenizerJsonKey = "tokenizer.huggingface.json";
/// Other files of a tokenizer, in base64: GGUF's strings are UTF-8, and these hold any bytes.
inline constexpr const char* kTokenizerModelKey = "diffllama.tokenizer_model";
inline constexpr const char* kTiktokenModelKey = "diffllama.tiktoken_model";
inline constexpr const char* kChatTemplateKey = "tokenizer.chat_template";

/// The bytes that a key holds in base64; empty for an absent key. Throws FormatError.
std::string read_gguf_bytes(const GgufFile& file, std::string_view key);

/// The tokenizer's own files, where a file holds them.
struct GgufTokenizerFiles {
  std::string where, tokenizer_json, model_file, tokenizer_config, special_tokens_map, added_tokens;
  /// For parse_tokenizer; this must outlive it.
  TokenizerFiles view() const;
};
/// Those that a file was made from: tokenizer.json, or a .model. Throws FormatError.
std::optional<GgufTokenizerFiles> read_gguf_tokenizer_files(const GgufFile& file);

/// The tokenizer of a file: of its own files where it holds them, else of its vocabulary. Throws
/// FormatError.
Tokenizer read_gguf_tokenizer(const GgufFile& file, const WarningHandler& warn);

}  // namespace diffllama
