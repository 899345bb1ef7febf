#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "diffllama/tokenizer.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer_files.h"

namespace diffllama {

/// The file that a tokenizer's path stands for: itself, or in a directory tokenizer.json, else
/// tiktoken.model or tokenizer.model; tokenizer.json, too, where there is none of them.
std::filesystem::path find_tokenizer_file(const std::filesystem::path& path);

/// A tokenizer from such a file (model_file.h says how a .model is read). A tokenizer_config.json,
/// a special_tokens_map.json and an added_tokens.json beside it name tokens, as in transformers,
/// where tokenizer.json alone decides what is added to a text (add_bos_token is not read).
Tokenizer load_tokenizer(const std::filesystem::path& path, const WarningHandler& warn);

/// The tokenizer that files make. Throws FormatError.
Tokenizer parse_tokenizer(const TokenizerFiles& files, const WarningHandler& warn);

/// The same before it is closed, for those who write it in another form; `rest`, where given, gets
/// the document of tokenizer.json, in which the model's vocab and merges are null; a .model has
/// none.
std::unique_ptr<Tokenizer::Impl> parse_tokenizer_parts(const TokenizerFiles& files,
                                                       const WarningHandler& warn,
                                                       nlohmann::json* rest = nullptr);

/// A tokenizer from a GGUF file's metadata, as transformers converts it. Throws FormatError that
/// starts with `where`.
Tokenizer make_tokenizer(const GgufVocabulary& vocabulary, const std::string& where);
std::unique_ptr<Tokenizer::Impl> make_tokenizer_parts(const GgufVocabulary& vocabulary,
                                                      const std::string& where);

/// The keys of GGUF for a BPE tokenizer, byte-level or with byte fallback as SentencePiece's. Ids
/// without a token get an unused one, and so do those up to `size`, the rows of the embeddings. A
/// splitting rule that GGUF has no name for becomes "default", with a warning. For other kinds of
/// tokenizers the model is kNoVocabulary. Throws FormatError for files that are no tokenizer.
GgufVocabulary to_gguf_vocabulary(const TokenizerFiles& files, std::int64_t size,
                                  const WarningHandler& warn);
/// The other way round: the text of a tokenizer.json that gives the ids of make_tokenizer. Throws
/// FormatError that starts with `where`.
std::string to_tokenizer_json(const GgufVocabulary& vocabulary, const std::string& where);

}  // namespace diffllama
