#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "base/temporary.h"

namespace diffllama {

/// A directory that appears under its name when all of it is there: until commit() it has another
/// name, one that nothing had before (Temporary), and without it nothing stays.
class UnfinishedDirectory {
 public:
  /// Makes it, and the directories above it. Throws IoError that names `path`.
  explicit UnfinishedDirectory(std::filesystem::path path);

  /// Where its files go until then.
  const std::filesystem::path& unfinished() const { return temporary_->path(); }
  /// Calls `write` with that place; an IoError that names it gets the name that its user knows.
  void fill(const std::function<void(const std::filesystem::path& unfinished)>& write) const;
  /// Renames it to `path`, where nothing or an empty directory is, and flushes the names in both:
  /// its files, flushed before, survive a loss of power under their new path. Throws IoError.
  void commit();

 private:
  std::filesystem::path path_;
  std::optional<Temporary> temporary_;
};

}  // namespace diffllama
