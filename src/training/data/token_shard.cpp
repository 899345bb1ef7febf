#include "training/data/token_shard.h"

#include <bit>
#include <cstring>

#include "diffllama/error.h"
#include "training/data/checksum.h"

namespace diffllama {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are read as they lie");

constexpr std::string_view kMagic = "DLTOKENS";
constexpr std::uint32_t kVersion = 1;

template <class Integer>
Integer load(std::span<const std::byte> bytes, std::size_t at) {
  Integer value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class Integer>
void store(std::span<std::byte> bytes, std::size_t at, Integer value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// Where the fields lie in the header.
constexpr std::size_t kVersionAt = 8, kHeaderBytesAt = 12, kBytesPerTokenAt = 16, kLastAt = 20;
constexpr std::size_t kNumberAt = 24, kVocabSizeAt = 32, kTokenizerAt = 40, kSourceAt = 48;
constexpr std::size_t kFirstTokenAt = 56, kTokensAt = 64, kDocumentsAt = 72, kDataChecksumAt = 80;
constexpr std::size_t kHeaderChecksumAt = 88;

std::uint64_t checksum(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.value();
}

}  // namespace

TokenShardHeaderBytes encode_header(const TokenShardHeader& header) {
  TokenShardHeaderBytes bytes{};
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  store(bytes, kVersionAt, kVersion);
  store(bytes, kHeaderBytesAt, static_cast<std::uint32_t>(kTokenShardHeaderBytes));
  store(bytes, kBytesPerTokenAt, header.bytes_per_token);
  store(bytes, kLastAt, std::uint32_t{header.last});
  store(bytes, kNumberAt, header.number);
  store(bytes, kVocabSizeAt, header.vocab_size);
  store(bytes, kTokenizerAt, header.tokenizer_fingerprint);
  store(bytes, kSourceAt, header.source_fingerprint);
  store(bytes, kFirstTokenAt, header.first_token);
  store(bytes, kTokensAt, header.tokens);
  store(bytes, kDocumentsAt, header.documents);
  store(bytes, kDataChecksumAt, header.data_checksum);
  store(bytes, kHeaderChecksumAt, checksum(std::span(bytes).first(kHeaderChecksumAt)));
  return bytes;
}

TokenShard::TokenShard(const std::filesystem::path& path)
    : file_(std::make_unique<MappedFile>(path)) {
  const std::span<const std::byte> bytes = file_->bytes();
  if (bytes.size() < kTokenShardHeaderBytes) {
    refuse("size", std::to_string(kTokenShardHeaderBytes) + " bytes or more",
           std::to_string(bytes.size()));
  }
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    refuse("magic", std::string(kMagic), "other bytes");
  }
  const auto version = load<std::uint32_t>(bytes, kVersionAt);
  if (version != kVersion) refuse("version", std::to_string(kVersion), std::to_string(version));
  const auto header_bytes = load<std::uint32_t>(bytes, kHeaderBytesAt);
  if (header_bytes != kTokenShardHeaderBytes) {
    refuse("header_bytes", std::to_string(kTokenShardHeaderBytes), std::to_string(header_bytes));
  }
  const auto stored = load<std::uint64_t>(bytes, kHeaderChecksumAt);
  const std::uint64_t computed = checksum(bytes.first(kHeaderChecksumAt));
  if (stored != computed) {
    refuse("header_checksum", std::to_string(stored), std::to_string(computed));
  }
  header_.bytes_per_token = load<std::uint32_t>(bytes, kBytesPerTokenAt);
  const auto last = load<std::uint32_t>(bytes, kLastAt);
  if (last > 1) refuse("last", "0 or 1", std::to_string(last));
  header_.last = last == 1;
  header_.number = load<std::uint64_t>(bytes, kNumberAt);
  header_.vocab_size = load<std::uint64_t>(bytes, kVocabSizeAt);
  header_.tokenizer_fingerprint = load<std::uint64_t>(bytes, kTokenizerAt);
  header_.source_fingerprint = load<std::uint64_t>(bytes, kSourceAt);
  header_.first_token = load<std::uint64_t>(bytes, kFirstTokenAt);
  header_.tokens = load<std::uint64_t>(bytes, kTokensAt);
  header_.documents = load<std::uint64_t>(bytes, kDocumentsAt);
  header_.data_checksum = load<std::uint64_t>(bytes, kDataChecksumAt);
  check_sizes();
  const std::span<const std::byte> data = bytes.subspan(kTokenShardHeaderBytes);
  offsets_ = data.first(header_.documents * sizeof(std::uint64_t));
  tokens_ = data.subspan(offsets_.size());
}

void TokenShard::check_sizes() const {
  const TokenShardHeader& h = header_;
  if (h.bytes_per_token != 2 && h.bytes_per_token != 4) {
    refuse("bytes_per_token", "2 or 4", std::to_string(h.bytes_per_token));
  }
  const std::uint64_t largest = std::uint64_t{1} << (h.bytes_per_token == 2 ? 16 : 31);
  if (h.vocab_size == 0 || h.vocab_size > largest) {
    refuse("vocab_size", "1.." + std::to_string(largest), std::to_string(h.vocab_size));
  }
  const std::uint64_t data = file_->bytes().size() - kTokenShardHeaderBytes;
  if (h.tokens == 0 || h.tokens > data / h.bytes_per_token) {
    refuse("tokens",
           "1.." + std::to_string(data / h.bytes_per_token) + " in a file of " +
               std::to_string(file_->bytes().size()) + " bytes",
           std::to_string(h.tokens));
  }
  if (h.documents > h.tokens) {
    refuse("documents", "at most one for each of " + std::to_string(h.tokens) + " tokens",
           std::to_string(h.documents));
  }
  // No overflow: tokens * bytes_per_token is at most the file's size, documents at most tokens.
  const std::uint64_t expected = h.documents * sizeof(std::uint64_t) + h.tokens * h.bytes_per_token;
  if (data != expected) {
    refuse("size", std::to_string(kTokenShardHeaderBytes + expected) + " bytes",
           std::to_string(file_->bytes().size()));
  }
  if (h.first_token > std::uint64_t{1} << 62) {
    refuse("first_token", "0..2^62", std::to_string(h.first_token));
  }
}

void TokenShard::verify() const {
  const std::uint64_t computed = checksum(file_->bytes().subspan(kTokenShardHeaderBytes));
  if (computed != header_.data_checksum) {
    refuse("data_checksum", std::to_string(header_.data_checksum), std::to_string(computed));
  }
  for (std::uint64_t i = 0; i < header_.documents; ++i) {
    const std::uint64_t least = i == 0 ? 0 : document_offset(i - 1) + 1;
    const std::uint64_t offset = document_offset(i);
    if (offset < least || offset >= header_.tokens) {
      refuse(("document_offsets[" + std::to_string(i) + "]").c_str(),
             std::to_string(least) + ".." + std::to_string(header_.tokens - 1),
             std::to_string(offset));
    }
  }
  for (std::uint64_t i = 0; i < header_.tokens; ++i) {
    if (token(i) >= header_.vocab_size) {
      refuse(("tokens[" + std::to_string(i) + "]").c_str(),
             "0.." + std::to_string(header_.vocab_size - 1), std::to_string(token(i)));
    }
  }
}

std::uint64_t TokenShard::token(std::uint64_t index) const {
  return header_.bytes_per_token == 2 ? load<std::uint16_t>(tokens_, index * sizeof(std::uint16_t))
                                      : load<std::uint32_t>(tokens_, index * sizeof(std::uint32_t));
}

void TokenShard::copy_tokens(std::uint64_t first, std::span<std::int64_t> out) const {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int64_t>(token(first + i));
}

std::uint64_t TokenShard::document_offset(std::uint64_t index) const {
  return load<std::uint64_t>(offsets_, index * sizeof(std::uint64_t));
}

void TokenShard::refuse(const char* field, const std::string& expected,
                        const std::string& found) const {
  throw FormatError(file_->path().string() + ": " + field + ": expected " + expected + ", got " +
                    found);
}

}  // namespace diffllama
