#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/tokenizer.h"
#include "training/data/bad_rows.h"
#include "training/data/documents.h"
#include "training/data/token_shards.h"

namespace diffllama {

/// A number that changes with what a tokenizer does: of the text of its tokenizer.json and the
/// files beside it, or of the vocabulary in a .gguf file. Throws IoError, FormatError.
std::uint64_t tokenizer_fingerprint(const std::filesystem::path& path);

struct CorpusOptions {
  std::vector<std::filesystem::path> paths;  // as DocumentReader takes them
  DocumentFormat format = DocumentFormat::automatic;
  TextDocuments text_documents = TextDocuments::file;
  /// Puts EOS after each document that does not end with it. Special tokens before and after a
  /// document are otherwise those of the tokenizer's post-processor.
  bool append_eos = false;
  std::int64_t tokens_per_shard = std::int64_t{1} << 24;  // 32 MiB of uint16
  /// Called now and then with the bytes of text read, of how many (0: unknown), and the tokens
  /// made.
  std::function<void(std::uint64_t, std::uint64_t, std::int64_t)> progress;
  std::string text_column = "text";  // of rows
  BadRows* bad_rows = nullptr;       // those that may pass; null: none
  WarningHandler warn;               // says why shards that were there are made anew
};

/// The corpus as shards in `directory`, which is made where it is absent. Shards of the same texts,
/// tokenizer and options that are there are used; of others they are made anew, each file
/// atomically, with the same bytes whatever the number of threads; a set that was not finished goes
/// on behind its last whole shard. Memory: one shard, and per thread some MiB or the longest
/// document. Throws IoError, FormatError (a broken line or shard), InvalidArgument for options.
TokenShards tokenize_corpus(const Tokenizer& tokenizer, std::uint64_t tokenizer_fingerprint,
                            const CorpusOptions& options, const std::filesystem::path& directory,
                            const Parallel& parallel);

}  // namespace diffllama
