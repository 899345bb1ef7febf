#pragma once

#include <filesystem>

namespace diffllama {

/// A directory that appears under its name when all of it is there: until commit() it has another
/// name, and without it nothing stays.
class UnfinishedDirectory {
 public:
  /// Makes `unfinished`, and the directories above it. Throws IoError that names `path`.
  UnfinishedDirectory(std::filesystem::path path, std::filesystem::path unfinished);
  ~UnfinishedDirectory();
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;

  /// Where its files go until then.
  const std::filesystem::path& unfinished() const { return unfinished_; }
  /// Renames it to `path`, where nothing or an empty directory is, and flushes the names in both:
  /// its files, flushed before, survive a loss of power under their new path. Throws IoError.
  void commit();

 private:
  std::filesystem::path path_, unfinished_;
};

}  // namespace diffllama
