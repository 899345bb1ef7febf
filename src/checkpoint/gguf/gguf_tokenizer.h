#pragma once

#include <optional>
#include <string>

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

inline constexpr const char* kChatTemplateKey = "tokenizer.chat_template";

/// The tokenizer's own files that a file holds, if a vocabulary is among them. Throws FormatError.
std::optional<TokenizerFiles> read_gguf_tokenizer_files(const GgufFile& file);

/// Sets the keys of those that there are.
void write_gguf_tokenizer_files(const TokenizerFiles& files, GgufWriter& out);

/// The tokenizer of a file: of its own files where it holds them, else of its vocabulary. Throws
/// FormatError.
Tokenizer read_gguf_tokenizer(const GgufFile& file, const WarningHandler& warn);

}  // namespace diffllama
