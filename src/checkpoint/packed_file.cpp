#include "checkpoint/packed_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/atomic_file.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAlignment = 64;

struct Header {
  std::array<char, 8> magic = {'D', 'L', 'P', 'A', 'C', 'K', 'E', 'D'};
  std::uint32_t version = 1;  // of this header and of the panels (kernels/panel_product.h)
  std::uint32_t blocks = 0;
  std::uint64_t fingerprint = 0;
  std::uint64_t layout = 0;
  std::uint64_t bytes = 0;
  std::array<std::byte, 24> zeros = {};
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

/// Where each block begins, and where the file ends.
std::vector<std::size_t> offsets(const PackedFileSpec& spec) {
  std::vector<std::size_t> result = {sizeof(Header)};
  for (const PackedBlock& block : spec.blocks) {
    const std::size_t end = result.back() + block.bytes;
    result.push_back((end + kAlignment - 1) / kAlignment * kAlignment);
  }
  return result;
}

Header header_of(const PackedFileSpec& spec) {
  Hash layout;
  for (const PackedBlock& block : spec.blocks) {
    layout.add(block.name);
    layout.add(static_cast<std::int64_t>(block.bytes));
  }
  Header header;
  header.blocks = static_cast<std::uint32_t>(spec.blocks.size());
  header.fingerprint = spec.fingerprint;
  header.layout = layout.value();
  header.bytes = offsets(spec).back();
  return header;
}

[[noreturn]] void refuse(const std::string& where, const std::string& expected,
                         const std::string& found) {
  throw FormatError(where + ": expected " + expected + ", got " + found);
}

}  // namespace

std::uint64_t file_fingerprint(const std::vector<fs::path>& files) {
  constexpr std::size_t kHead = std::size_t{64} << 10;
  Hash hash;
  for (const fs::path& path : files) {
    const MappedFile file(path);
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
      throw IoError(path.string() + ": expected a file that can be read");
    }
    hash.add(std::string_view(path.filename().string()));
    hash.add(std::int64_t{status.st_size});
    hash.add(std::int64_t{status.st_mtim.tv_sec});
    hash.add(std::int64_t{status.st_mtim.tv_nsec});
    hash.add(file.bytes().first(std::min(kHead, file.bytes().size())));
  }
  return hash.value();
}

void check_packed_file(std::span<const std::byte> file, const PackedFileSpec& spec,
                       const std::string& where) {
  const Header expected = header_of(spec);
  Header found;
  if (file.size() < sizeof(found)) {
    refuse(where, "a packed copy of at least 64 bytes", std::to_string(file.size()));
  }
  std::memcpy(&found, file.data(), sizeof(found));
  if (found.magic != expected.magic) refuse(where, "a packed copy (DLPACKED)", "another file");
  if (found.version != expected.version) {
    refuse(where, "version 1 of packed copies", std::to_string(found.version));
  }
  if (found.fingerprint != expected.fingerprint) {
    refuse(where, "the packed copy of this model", "one of other files, or of what they were");
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

PackedFile::PackedFile(const fs::path& path, const PackedFileSpec& spec)
    : file_(std::make_shared<const MappedFile>(path)), offsets_(offsets(spec)) {
  check_packed_file(file_->bytes(), spec, path.string());
}

std::shared_ptr<const std::byte> PackedFile::block(std::size_t index) const {
  return {file_, file_->bytes().data() + offsets_.at(index)};
}

void write_packed_file(const fs::path& path, const PackedFileSpec& spec,
                       const std::vector<std::span<const std::byte>>& blocks) {
  assert(std::ranges::equal(blocks, spec.blocks, [](const auto& block, const auto& described) {
    return block.size() == described.bytes;
  }));
  static constexpr std::array<std::byte, kAlignment> kZeros = {};
  AtomicFile file(path);
  const Header header = header_of(spec);
  file.write(std::as_bytes(std::span(&header, 1)));
  for (const std::span<const std::byte>& block : blocks) {
    file.write(block);
    file.write(std::span(kZeros).first((kAlignment - block.size() % kAlignment) % kAlignment));
  }
  file.commit();
}

}  // namespace diffllama
