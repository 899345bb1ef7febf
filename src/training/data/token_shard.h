#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/mapped_file.h"

namespace diffllama {

/// What a file of tokens says about itself. The file: this header in 96 bytes, little-endian, in
/// the order of kTokenShardFields; then `documents` offsets (uint64), where documents begin among
/// the shard's tokens; then the tokens, of `bytes_per_token` each.
struct TokenShardHeader {
  std::uint32_t bytes_per_token = 2;  // 2 (uint16) or 4 (uint32)
  bool last = true;                   // of its set
  std::uint64_t number = 0;           // in its set, from 0
  std::uint64_t vocab_size = 0;       // every token is below it
  std::uint64_t tokenizer_fingerprint = 0;
  std::uint64_t source_fingerprint = 0;  // the texts and how they were cut
  std::uint64_t first_token = 0;         // tokens in the shards before it
  std::uint64_t tokens = 0;
  std::uint64_t documents = 0;      // that begin in it
  std::uint64_t data_checksum = 0;  // CRC-64 of all that follows the header
};

inline constexpr std::size_t kTokenShardHeaderBytes = 96;
using TokenShardHeaderBytes = std::array<std::byte, kTokenShardHeaderBytes>;

/// The header as it is stored, with its own checksum.
TokenShardHeaderBytes encode_header(const TokenShardHeader& header);

/// One mapped shard.
class TokenShard {
 public:
  /// Checks every field but the data's checksum. Throws IoError, and FormatError "PATH: FIELD:
  /// expected X, got Y".
  explicit TokenShard(const std::filesystem::path& path);
  /// Reads all of it: the checksum, the documents' order, and that tokens are below vocab_size.
  /// Throws FormatError.
  void verify() const;

  const std::filesystem::path& path() const { return file_->path(); }
  const TokenShardHeader& header() const { return header_; }
  /// Tokens [first, first + out.size()) of the shard.
  void copy_tokens(std::uint64_t first, std::span<std::int64_t> out) const;
  /// Where document `index` of the shard begins.
  std::uint64_t document_offset(std::uint64_t index) const;

 private:
  void check_sizes() const;
  std::uint64_t token(std::uint64_t index) const;
  [[noreturn]] void refuse(const char* field, const std::string& expected,
                           const std::string& found) const;

  std::unique_ptr<MappedFile> file_;
  TokenShardHeader header_;
  std::span<const std::byte> offsets_, tokens_;
};

}  // namespace diffllama
