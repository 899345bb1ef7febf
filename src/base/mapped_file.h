#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace diffllama {

/// A regular file mapped read-only. Pages are read when touched. The file must not be cut short
/// while it is mapped: the system then ends the process (SIGBUS).
class MappedFile {
 public:
  /// Throws IoError for a path that cannot be opened or is no regular file. An empty file has no
  /// bytes.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

/// Tells the system that these bytes of a mapped file are not needed any more; touching them again
/// reads them again. Pages that are only partly inside `bytes` are kept.
void release_pages(std::span<const std::byte> bytes);

}  // namespace diffllama
