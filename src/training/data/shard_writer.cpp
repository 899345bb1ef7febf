#include "training/data/shard_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/regular_file.h"
#include "diffllama/error.h"
#include "training/data/checksum.h"
#include "training/data/token_shards.h"

namespace diffllama {

namespace fs = std::filesystem;

fs::path shard_progress_path(const fs::path& directory) { return directory / "progress.json"; }

ShardWriter::ShardWriter(fs::path directory, const TokenShardHeader& header,
                         std::uint64_t tokens_per_shard)
    : directory_(std::move(directory)), header_(header), tokens_per_shard_(tokens_per_shard) {}

std::uint64_t ShardWriter::resume() {
  const fs::path path = shard_progress_path(directory_);
  std::error_code error;
  if (!fs::exists(path, error)) return 0;
  std::uint64_t shards = 0, documents = 0, tokens = 0;
  try {
    const nlohmann::json progress = parse_json(read_file(path), path.string());
    shards = progress.at("shards").get<std::uint64_t>();
    documents = progress.at("documents").get<std::uint64_t>();
    tokens = progress.at("tokens").get<std::uint64_t>();
    for (std::uint64_t number = 0; number < shards; ++number) {
      const TokenShard shard(token_shard_path(directory_, number));
      const TokenShardHeader& header = shard.header();
      const bool of_this_set = header.tokenizer_fingerprint == header_.tokenizer_fingerprint &&
                               header.source_fingerprint == header_.source_fingerprint &&
                               header.vocab_size == header_.vocab_size && header.number == number &&
                               header.tokens == tokens_per_shard_ && !header.last;
      if (!of_this_set) return 0;
      shard.verify();
    }
  } catch (const nlohmann::json::exception&) {
    return 0;  // not ours: the set is made from the beginning
  } catch (const Error&) {
    return 0;
  }
  header_.number = shards;
  header_.first_token = shards * tokens_per_shard_;
  documents_ = documents;
  skipped_ = tokens;
  return documents;
}

void ShardWriter::add_document(std::span<const std::int64_t> ids) {
  std::uint64_t written = std::exchange(skipped_, 0);
  if (written > ids.size()) {
    throw FormatError(shard_progress_path(directory_).string() + ": tokens: expected at most the " +
                      std::to_string(ids.size()) + " of the next document, got " +
                      std::to_string(written));
  }
  ids = ids.subspan(written);
  while (!ids.empty()) {
    // A full shard waits for the next token: only then is it not the last.
    if (header_.tokens == tokens_per_shard_) {
      write(/*last=*/false);
      write_progress(written);
    }
    if (written == 0) offsets_.push_back(header_.tokens);
    const std::size_t part =
        std::min<std::uint64_t>(ids.size(), tokens_per_shard_ - header_.tokens);
    for (const std::int64_t id : ids.first(part)) append(id);
    header_.tokens += part;
    written += part;
    ids = ids.subspan(part);
  }
  ++documents_;
}

void ShardWriter::finish() {
  write(/*last=*/true);
  std::error_code error;
  for (std::uint64_t i = header_.number; fs::remove(token_shard_path(directory_, i), error); ++i) {
  }
}

void ShardWriter::append(std::int64_t id) {
  std::array<std::byte, sizeof id> bytes{};
  std::memcpy(bytes.data(), &id, sizeof id);  // little-endian
  tokens_.insert(tokens_.end(), bytes.begin(), bytes.begin() + header_.bytes_per_token);
}

void ShardWriter::write(bool last) {
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

// `tokens`: of the document that is being added, those that the shards hold.
void ShardWriter::write_progress(std::uint64_t tokens) const {
  const nlohmann::json progress = {
      {"shards", header_.number}, {"documents", documents_}, {"tokens", tokens}};
  AtomicFile file(shard_progress_path(directory_));
  file.write(progress.dump() + "\n");
  file.commit();
}

}  // namespace diffllama
