#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "training/data/token_shard.h"

namespace diffllama {

/// Where a set that is not finished says how far it is: "progress.json".
std::filesystem::path shard_progress_path(const std::filesystem::path& directory);

/// Collects a corpus's documents and writes a shard whenever one is full, each file atomically, and
/// beside it how far the corpus is, so that a run that was ended goes on there.
class ShardWriter {
 public:
  /// `header`: fingerprints and sizes of the set.
  ShardWriter(std::filesystem::path directory, const TokenShardHeader& header,
              std::uint64_t tokens_per_shard);

  /// Goes on behind the shards of this set that lie there, where they say how far they are. Gives
  /// the number of the corpus's documents that they hold whole, which add_document() is not to be
  /// given again.
  std::uint64_t resume();
  /// Throws IoError; FormatError where a document that was begun is now shorter than what was
  /// written of it.
  void add_document(std::span<const std::int64_t> ids);
  /// Writes the last shard, and removes what a longer set left behind.
  void finish();
  std::uint64_t tokens() const { return header_.first_token + header_.tokens; }

 private:
  void append(std::int64_t id);
  void write(bool last);
  void write_progress(std::uint64_t tokens) const;

  std::filesystem::path directory_;
  TokenShardHeader header_;  // of the shard that is being filled
  std::uint64_t tokens_per_shard_;
  std::uint64_t documents_ = 0;  // that are in whole
  std::uint64_t skipped_ = 0;    // tokens of the next document that an earlier run has written
  std::vector<std::uint64_t> offsets_;
  std::vector<std::byte> tokens_;
};

}  // namespace diffllama
