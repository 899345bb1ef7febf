#include "training/data/token_shards.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

// Holds shard `number` against what the ones before it say.
void check_belongs(const TokenShard& shard, std::uint64_t number, const TokenShardHeader& first,
                   std::uint64_t tokens_before) {
  const TokenShardHeader& header = shard.header();
  const auto expect = [&](const char* field, std::uint64_t expected, std::uint64_t found) {
    if (found == expected) return;
    throw FormatError(shard.path().string() + ": " + field + ": expected " +
                      std::to_string(expected) + ", got " + std::to_string(found));
  };
  expect("number", number, header.number);
  expect("first_token", tokens_before, header.first_token);
  expect("bytes_per_token", first.bytes_per_token, header.bytes_per_token);
  expect("vocab_size", first.vocab_size, header.vocab_size);
  expect("tokenizer_fingerprint", first.tokenizer_fingerprint, header.tokenizer_fingerprint);
  expect("source_fingerprint", first.source_fingerprint, header.source_fingerprint);
  if (!header.last) expect("tokens", first.tokens, header.tokens);
  if (header.last && header.tokens > first.tokens) expect("tokens", first.tokens, header.tokens);
}

}  // namespace

std::filesystem::path token_shard_path(const std::filesystem::path& directory,
                                       std::uint64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 5) digits.insert(0, 5 - digits.size(), '0');
  return directory / ("tokens-" + digits + ".bin");
}

TokenShards TokenShards::open(const std::filesystem::path& directory, const Parallel& parallel) {
  TokenShards set;
  do {
    const auto number = static_cast<std::uint64_t>(set.shards_.size());
    TokenShard shard(token_shard_path(directory, number));
    const TokenShardHeader& first = set.shards_.empty() ? shard.header() : set.shards_[0].header();
    check_belongs(shard, number, first, static_cast<std::uint64_t>(set.tokens_));
    set.tokens_ += static_cast<std::int64_t>(shard.header().tokens);
    set.documents_ += static_cast<std::int64_t>(shard.header().documents);
    set.shards_.push_back(std::move(shard));
  } while (!set.shards_.back().header().last);
  parallel.run(static_cast<std::int64_t>(set.shards_.size()),
               [&](std::int64_t i, int) { set.shards_[static_cast<std::size_t>(i)].verify(); });
  const TokenShard& first = set.shards_[0];
  if (first.header().documents == 0 || first.document_offset(0) != 0) {
    throw FormatError(first.path().string() +
                      ": document_offsets: expected a document at token 0, got none");
  }
  return set;
}

std::int64_t TokenShards::vocab_size() const {
  return static_cast<std::int64_t>(shards_[0].header().vocab_size);
}

std::uint64_t TokenShards::tokenizer_fingerprint() const {
  return shards_[0].header().tokenizer_fingerprint;
}

std::uint64_t TokenShards::source_fingerprint() const {
  return shards_[0].header().source_fingerprint;
}

std::int64_t TokenShards::tokens_per_shard() const {
  return static_cast<std::int64_t>(shards_[0].header().tokens);
}

void TokenShards::copy_tokens(std::int64_t first, std::span<std::int64_t> out) const {
  assert(first >= 0 && first + static_cast<std::int64_t>(out.size()) <= tokens_);
  while (!out.empty()) {
    const TokenShard& shard = shards_[static_cast<std::size_t>(first / tokens_per_shard())];
    const auto offset = static_cast<std::uint64_t>(first % tokens_per_shard());
    const std::uint64_t part = std::min<std::uint64_t>(out.size(), shard.header().tokens - offset);
    shard.copy_tokens(offset, out.first(part));
    out = out.subspan(part);
    first += static_cast<std::int64_t>(part);
  }
}

std::vector<std::int64_t> TokenShards::document_starts(std::int64_t first,
                                                       std::int64_t count) const {
  assert(first >= 0 && count >= 0 && first + count <= tokens_);
  std::vector<std::int64_t> starts;
  const std::int64_t end = first + count;
  for (std::int64_t at = first; at < end;) {
    const std::int64_t number = at / tokens_per_shard();
    const TokenShard& shard = shards_[static_cast<std::size_t>(number)];
    const std::int64_t base = number * tokens_per_shard();
    // The first document of the shard that begins at `at` or later.
    std::uint64_t low = 0, high = shard.header().documents;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if (base + static_cast<std::int64_t>(shard.document_offset(middle)) < at) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (; low < shard.header().documents; ++low) {
      const std::int64_t start = base + static_cast<std::int64_t>(shard.document_offset(low));
      if (start >= end) break;
      starts.push_back(start - first);
    }
    at = base + tokens_per_shard();
  }
  return starts;
}

}  // namespace diffllama
