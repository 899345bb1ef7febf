#include "training/data/tokenize_corpus.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"
#include "training/data/checksum.h"
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

// Collects documents and writes a shard whenever one is full.
class ShardWriter {
 public:
  ShardWriter(fs::path directory, TokenShardHeader header, std::uint64_t tokens_per_shard)
      : directory_(std::move(directory)), header_(header), tokens_per_shard_(tokens_per_shard) {}

  void add_document(std::span<const std::int64_t> ids) {
    bool begins = true;
    while (!ids.empty()) {
      // A full shard waits for the next token: only then is it not the last.
      if (header_.tokens == tokens_per_shard_) write(/*last=*/false);
      if (begins) offsets_.push_back(header_.tokens);
      begins = false;
      const std::size_t part =
          std::min<std::uint64_t>(ids.size(), tokens_per_shard_ - header_.tokens);
      for (const std::int64_t id : ids.first(part)) append(id);
      header_.tokens += part;
      ids = ids.subspan(part);
    }
  }
  void finish() { write(/*last=*/true); }
  std::uint64_t tokens() const { return header_.first_token + header_.tokens; }
  std::uint64_t shards() const { return header_.number; }

 private:
  void append(std::int64_t id) {
    std::array<std::byte, sizeof id> bytes{};
    std::memcpy(bytes.data(), &id, sizeof id);  // little-endian
    tokens_.insert(tokens_.end(), bytes.begin(), bytes.begin() + header_.bytes_per_token);
  }

  void write(bool last) {
    const auto offsets = std::as_bytes(std::span(offsets_));
    Checksum sum;
    sum.add(offsets);
    sum.add(std::span<const std::byte>(tokens_));
    header_.data_checksum = sum.value();
    header_.documents = offsets_.size();
    header_.last = last;
    AtomicFile file(token_shard_path(directory_, header_.number));
    file.write(encode_header(header_));
    file.write(offsets);
    file.write(tokens_);
    file.commit();
    header_.first_token += header_.tokens;
    header_.tokens = 0;
    ++header_.number;
    offsets_.clear();
    tokens_.clear();
  }

  fs::path directory_;
  TokenShardHeader header_;  // of the shard that is being filled
  std::uint64_t tokens_per_shard_;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::byte> tokens_;
};

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
  // What a longer set left behind.
  std::error_code error;
  for (std::uint64_t i = writer.shards(); fs::remove(token_shard_path(directory, i), error); ++i) {
  }
}

// Why the shards in `directory` cannot be used and are to be made: they are not there, or not of
// these texts. Broken ones throw FormatError.
std::optional<std::string> why_to_make(const fs::path& directory, const TokenShardHeader& wanted) {
  bool last = false;
  for (std::uint64_t number = 0; !last; ++number) {
    const fs::path path = token_shard_path(directory, number);
    std::error_code error;
    if (!fs::exists(path, error)) return number == 0 ? "" : path.string() + " is missing";
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
    const auto json = file.text(kTokenizerJsonKey);
    sum.add(json ? std::string(*json)
                 : to_tokenizer_json(read_gguf_vocabulary(file), path.string()));
    sum.add(file.text(kTokenizerConfigKey).value_or(""));
    sum.add(file.text(kSpecialTokensMapKey).value_or(""));
    return sum.value();
  }
  std::error_code error;
  const bool is_directory = fs::is_directory(path, error);
  const fs::path json = is_directory ? path / "tokenizer.json" : path;
  add_file(sum, json);
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path beside = json.parent_path() / name;
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
  return TokenShards::open(directory, parallel);
}

}  // namespace diffllama
