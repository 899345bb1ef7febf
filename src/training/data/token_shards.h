#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "training/data/token_shard.h"

namespace diffllama {

/// The path of shard `number` of the set in a directory: "tokens-00000.bin".
std::filesystem::path token_shard_path(const std::filesystem::path& directory,
                                       std::uint64_t number);

/// A corpus as one line of tokens, mapped from a set of files that each hold the same number of
/// tokens (the last one perhaps fewer); documents may cross from one to the next.
class TokenShards {
 public:
  /// Opens all shards of the set and verifies them. Throws IoError for one that is missing,
  /// FormatError for one that is broken or is not of this set.
  static TokenShards open(const std::filesystem::path& directory, const Parallel& parallel);

  std::int64_t tokens() const { return tokens_; }
  std::int64_t documents() const { return documents_; }
  std::int64_t vocab_size() const;
  std::uint64_t tokenizer_fingerprint() const;
  std::uint64_t source_fingerprint() const;

  /// Tokens [first, first + out.size()) of the corpus.
  void copy_tokens(std::int64_t first, std::span<std::int64_t> out) const;
  /// Where documents begin among tokens [first, first + count), relative to `first`, ascending.
  std::vector<std::int64_t> document_starts(std::int64_t first, std::int64_t count) const;

 private:
  TokenShards() = default;
  std::int64_t tokens_per_shard() const;

  std::vector<TokenShard> shards_;
  std::int64_t tokens_ = 0, documents_ = 0;
};

}  // namespace diffllama
