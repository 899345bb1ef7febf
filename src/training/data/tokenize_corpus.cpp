#include "training/data/tokenize_corpus.h"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/mapped_file.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"
#include "training/data/checksum.h"
#include "training/data/shard_writer.h"
#include "training/data/text_encoding.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBatchBytes = std::uint64_t{4} << 20;  // of text, tokenised together

void add_file(Checksum& sum, const fs::path& path) {
  const MappedFile file(path);
  sum.add(file.bytes().size());
  sum.add(file.bytes());
}

// Of what the tokens follow from, besides the tokenizer.
std::uint64_t source_fingerprint(const CorpusOptions& options, const std::vector<fs::path>& files,
                                 const Parallel& parallel) {
  std::vector<std::uint64_t> contents(files.size());
  parallel.run(static_cast<std::int64_t>(files.size()), [&](std::int64_t i, int) {
    Checksum sum;
    add_file(sum, files[static_cast<std::size_t>(i)]);
    contents[static_cast<std::size_t>(i)] = sum.value();
  });
  Checksum sum;
  sum.add(std::uint64_t{options.append_eos});
  sum.add(static_cast<std::uint64_t>(options.tokens_per_shard));
  // Only where it is not what it was before there was a choice: older shards stay in use.
  if (options.text_documents != TextDocuments::file) sum.add("blank_line");
  if (options.text_column != "text") sum.add(options.text_column);
  for (std::size_t i = 0; i < files.size(); ++i) {
    sum.add(std::uint64_t{has_rows(files[i], options.format)});
    sum.add(contents[i]);
  }
  return sum.value();
}

std::vector<std::int64_t> document_ids(const Tokenizer& tokenizer, const Document& document,
                                       std::optional<std::int64_t> eos) {
  std::vector<std::int64_t> ids =
      encode_at(tokenizer, document.text, document.where, /*add_special_tokens=*/true).ids;
  if (eos && !ids.empty() && ids.back() != *eos) ids.push_back(*eos);
  return ids;
}

void write_shards(const Tokenizer& tokenizer, const CorpusOptions& options,
                  const TokenShardHeader& header, const fs::path& directory,
                  const Parallel& parallel) {
  const auto eos = options.append_eos ? tokenizer.eos_token_id() : std::nullopt;
  ShardWriter writer(directory, header, static_cast<std::uint64_t>(options.tokens_per_shard));
  std::uint64_t written = writer.resume();  // documents that need not be tokenised
  DocumentReader reader(options.paths, options.format, options.text_documents, options.text_column);
  BadRows none;
  BadRows& bad_rows = options.bad_rows != nullptr ? *options.bad_rows : none;
  std::vector<Document> batch;
  std::vector<std::vector<std::int64_t>> ids;
  for (bool more = true; more;) {
    batch.clear();
    std::uint64_t bytes = 0;
    while (bytes < kBatchBytes) {
      Document document;
      more = bad_rows.next_good([&] { return reader.next(document); });
      if (!more) break;
      if (written > 0) {
        --written;
        continue;
      }
      bytes += document.text.size() + sizeof(Document);
      batch.push_back(std::move(document));
    }
    ids.resize(batch.size());
    parallel.run(static_cast<std::int64_t>(batch.size()), [&](std::int64_t i, int) {
      const auto at = static_cast<std::size_t>(i);
      ids[at] = document_ids(tokenizer, batch[at], eos);
    });
    for (const auto& document : ids) writer.add_document(document);
    if (options.progress) {
      options.progress(reader.bytes_read(), reader.total_bytes(),
                       static_cast<std::int64_t>(writer.tokens()));
    }
  }
  if (writer.tokens() == 0) {
    throw InvalidArgument("[corpus] expected documents with tokens in " +
                          (options.paths.empty() ? "a file" : options.paths[0].string()) +
                          ", got none");
  }
  writer.finish();
}

// Why the shards in `directory` cannot be used and are to be made: they are not there, or not of
// these texts. Broken ones throw FormatError.
std::optional<std::string> why_to_make(const fs::path& directory, const TokenShardHeader& wanted) {
  bool last = false;
  for (std::uint64_t number = 0; !last; ++number) {
    const fs::path path = token_shard_path(directory, number);
    std::error_code error;
    if (!fs::exists(path, error)) {
      const bool goes_on = number == 0 || fs::exists(shard_progress_path(directory), error);
      return goes_on ? "" : path.string() + " is missing";
    }
    const TokenShard shard(path);
    const TokenShardHeader& header = shard.header();
    if (header.tokenizer_fingerprint != wanted.tokenizer_fingerprint) {
      return path.string() + " was made with another tokenizer";
    }
    if (header.source_fingerprint != wanted.source_fingerprint) {
      return path.string() + " was made from other texts or options";
    }
    last = header.last;
  }
  return std::nullopt;
}

void check(const CorpusOptions& options, const Tokenizer& tokenizer) {
  if (options.paths.empty()) throw InvalidArgument("[corpus] expected a file of texts, got none");
  if (options.tokens_per_shard < 1 || options.tokens_per_shard > std::int64_t{1} << 40) {
    throw InvalidArgument("[tokens_per_shard] expected 1..2^40, got " +
                          std::to_string(options.tokens_per_shard));
  }
  if (options.append_eos && !tokenizer.eos_token_id()) {
    throw InvalidArgument(
        "[data.append_eos] expected a tokenizer with an EOS token, got one without");
  }
}

}  // namespace

std::uint64_t tokenizer_fingerprint(const fs::path& path) {
  Checksum sum;
  if (path.extension() == ".gguf") {
    const GgufFile file(path);
    const auto own = read_gguf_tokenizer_files(file);
    if (!own) sum.add(to_tokenizer_json(read_gguf_vocabulary(file), path.string()));
    for (const TokenizerFile& each : kTokenizerFiles) {
      sum.add(file.text(each.gguf_key).value_or(""));
    }
    return sum.value();
  }
  std::error_code error;
  const bool is_directory = fs::is_directory(path, error);
  const fs::path json = find_tokenizer_file(path);
  add_file(sum, json);
  for (const TokenizerFile& file : kTokenizerFiles) {
    if (file.is_vocabulary) continue;
    const fs::path beside = json.parent_path() / file.name;
    const bool there = is_directory && fs::exists(beside, error);
    sum.add(std::uint64_t{there});
    if (there) add_file(sum, beside);
  }
  return sum.value();
}

TokenShards tokenize_corpus(const Tokenizer& tokenizer, std::uint64_t tokenizer_fingerprint,
                            const CorpusOptions& options, const fs::path& directory,
                            const Parallel& parallel) {
  check(options, tokenizer);
  TokenShardHeader header;
  header.vocab_size = static_cast<std::uint64_t>(tokenizer.vocab_size());
  header.bytes_per_token = header.vocab_size <= 1U << 16 ? 2 : 4;
  header.tokenizer_fingerprint = tokenizer_fingerprint;
  header.source_fingerprint = source_fingerprint(options, document_files(options.paths), parallel);
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw IoError(directory.string() + ": cannot create: " + error.message());
  if (const auto why = why_to_make(directory, header)) {
    if (!why->empty() && options.warn) options.warn(*why + ": tokenised anew");
    write_shards(tokenizer, options, header, directory, parallel);
  }
  fs::remove(shard_progress_path(directory), error);  // of a set that is whole
  return TokenShards::open(directory, parallel);
}

}  // namespace diffllama
