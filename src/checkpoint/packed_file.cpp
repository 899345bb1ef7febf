#include "checkpoint/packed_file.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/atomic_file.h"
#include "checkpoint/content_hash.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAlignment = 64;

struct Header {
  std::array<char, 8> magic = {'D', 'L', 'P', 'A', 'C', 'K', 'E', 'D'};
  std::uint32_t version = 2;  // of this header and of the panels (kernels/panel_product.h)
  std::uint32_t blocks = 0;
  std::uint64_t layout = 0;
  std::uint64_t bytes = 0;
  std::array<std::byte, 32> zeros = {};
};
static_assert(sizeof(Header) == kAlignment);

/// FNV-1a.
class Hash {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
      value_ = (value_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3U;
    }
  }
  void add(std::string_view text) {
    add(std::as_bytes(std::span(text)));
    add(std::byte{0});
  }
  void add(std::int64_t number) { add(std::as_bytes(std::span(&number, 1))); }
  std::uint64_t value() const { return value_; }

 private:
  void add(std::byte byte) { add(std::span(&byte, 1)); }
  std::uint64_t value_ = 0xcbf29ce484222325U;
};

struct BlockHashes {
  std::uint64_t source = 0;
  std::uint64_t content = 0;
};

constexpr std::array<std::byte, kAlignment> kZeros = {};

std::size_t aligned(std::size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// The zeros that follow `size` bytes.
std::span<const std::byte> padding(std::size_t size) {
  return std::span(kZeros).first(aligned(size) - size);
}

std::size_t table_bytes(const PackedFileSpec& spec) { return spec.size() * sizeof(BlockHashes); }

/// Where each block begins, and where the file ends.
std::vector<std::size_t> offsets(const PackedFileSpec& spec) {
  std::vector<std::size_t> result = {sizeof(Header) + aligned(table_bytes(spec))};
  for (const PackedBlock& block : spec) result.push_back(result.back() + aligned(block.bytes));
  return result;
}

Header header_of(const PackedFileSpec& spec) {
  Hash layout;
  for (const PackedBlock& block : spec) {
    layout.add(block.name);
    layout.add(static_cast<std::int64_t>(block.bytes));
  }
  Header header;
  header.blocks = static_cast<std::uint32_t>(spec.size());
  header.layout = layout.value();
  header.bytes = offsets(spec).back();
  return header;
}

[[noreturn]] void refuse(const std::string& where, const std::string& expected,
                         const std::string& found) {
  throw FormatError(where + ": expected " + expected + ", got " + found);
}

std::vector<std::uint64_t> source_hashes(const PackedFileSpec& spec, const Parallel& parallel) {
  std::vector<std::span<const std::byte>> sources;
  for (const PackedBlock& block : spec) sources.push_back(block.source);
  std::vector<std::uint64_t> hashes = content_hashes(sources, parallel);
  for (const std::span<const std::byte> source : sources) release_pages(source);
  return hashes;
}

void check_header(std::span<const std::byte> file, const PackedFileSpec& spec,
                  const std::string& where) {
  const Header expected = header_of(spec);
  Header found;
  if (file.size() < sizeof(found)) {
    refuse(where, "a packed copy of at least 64 bytes", std::to_string(file.size()));
  }
  std::memcpy(&found, file.data(), sizeof(found));
  if (found.magic != expected.magic) refuse(where, "a packed copy (DLPACKED)", "another file");
  if (found.version != expected.version) {
    refuse(where, "version 2 of packed copies", std::to_string(found.version));
  }
  if (found.layout != expected.layout || found.blocks != expected.blocks) {
    refuse(where, "the packed copy of this model", "one with other matrices");
  }
  if (found.bytes != expected.bytes || file.size() != expected.bytes) {
    refuse(where, std::to_string(expected.bytes) + " bytes",
           std::to_string(file.size()) + ", and " + std::to_string(found.bytes) + " by its header");
  }
  if (found.zeros != expected.zeros) refuse(where, "zeros at the end of the header", "others");
}

// Of what begins with `size` bytes.
void check_padding(std::span<const std::byte> bytes, std::size_t size, const std::string& where) {
  const std::span<const std::byte> zeros = padding(size);
  if (std::ranges::equal(bytes.subspan(size, zeros.size()), zeros)) return;
  refuse(where, "zeros between the blocks", "others");
}

}  // namespace

void check_packed_file(std::span<const std::byte> file, const PackedFileSpec& spec,
                       const std::string& where, const Parallel& parallel) {
  check_header(file, spec, where);
  std::vector<BlockHashes> stored(spec.size());
  const std::span<const std::byte> table = file.subspan(sizeof(Header));
  std::memcpy(stored.data(), table.data(), table_bytes(spec));
  check_padding(table, table_bytes(spec), where);
  const std::vector<std::size_t> begins = offsets(spec);
  std::vector<std::span<const std::byte>> contents;
  for (std::size_t i = 0; i < spec.size(); ++i) {
    contents.push_back(file.subspan(begins[i], spec[i].bytes));
    check_padding(file.subspan(begins[i]), spec[i].bytes, where);
  }
  const std::vector<std::uint64_t> sources = source_hashes(spec, parallel);
  const std::vector<std::uint64_t> hashes = content_hashes(contents, parallel);
  for (std::size_t i = 0; i < spec.size(); ++i) {
    if (stored[i].source != sources[i]) {
      refuse(where, "the packed copy of this model", "one of other weights: " + spec[i].name);
    }
    if (stored[i].content != hashes[i]) {
      refuse(where, "what was written for " + spec[i].name, "other bytes");
    }
  }
}

PackedFile::PackedFile(const fs::path& path, const PackedFileSpec& spec, const Parallel& parallel)
    : file_(std::make_shared<const MappedFile>(path)), offsets_(offsets(spec)) {
  check_packed_file(file_->bytes(), spec, path.string(), parallel);
}

std::shared_ptr<const std::byte> PackedFile::block(std::size_t index) const {
  return {file_, file_->bytes().data() + offsets_.at(index)};
}

void write_packed_file(const fs::path& path, const PackedFileSpec& spec,
                       const std::vector<std::span<const std::byte>>& blocks,
                       const Parallel& parallel) {
  assert(std::ranges::equal(blocks, spec, [](const auto& block, const auto& described) {
    return block.size() == described.bytes;
  }));
  AtomicFile file(path);
  const Header header = header_of(spec);
  file.write(std::as_bytes(std::span(&header, 1)));
  const std::vector<std::uint64_t> sources = source_hashes(spec, parallel);
  const std::vector<std::uint64_t> contents = content_hashes(blocks, parallel);
  for (std::size_t i = 0; i < spec.size(); ++i) {
    const BlockHashes hashes = {.source = sources[i], .content = contents[i]};
    file.write(std::as_bytes(std::span(&hashes, 1)));
  }
  file.write(padding(table_bytes(spec)));
  for (const std::span<const std::byte>& block : blocks) {
    file.write(block);
    file.write(padding(block.size()));
  }
  file.commit();
}

}  // namespace diffllama
