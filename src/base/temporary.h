#pragma once

#include <filesystem>
#include <optional>

#include "base/signals.h"

namespace diffllama {

/// A file or a directory under a name of its own beside the path that it will have:
/// ".diffllama-RANDOM.tmp". It is new, whatever lies there, and locked (flock) as long as this
/// object lives; so a name of that form without a lock is what a dead process left, and making a
/// temporary first removes those of the same directory. It is removed on destruction, and by the
/// signals that end the program (clean_up_on_signals).
class Temporary {
 public:
  enum class Kind { file, directory };

  /// Throws IoError "PATH: cannot create: REASON".
  Temporary(const std::filesystem::path& path, Kind kind);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// A file is open for writing.
  int descriptor() const { return descriptor_; }
  /// Renames it; it is not temporary any more, and its descriptor is closed. Throws IoError that
  /// names `path`.
  void rename_to(const std::filesystem::path& path);

 private:
  bool make(Kind kind);
  void forget() noexcept;

  std::filesystem::path path_;
  std::optional<RemovedOnSignal> removed_on_signal_;
  int descriptor_ = -1;
};

/// Removes the temporaries that dead processes of this user left in a directory. What cannot be
/// removed stays.
void remove_leftovers(const std::filesystem::path& directory) noexcept;

/// Where the names of a path's directory stand: "." for "a".
std::filesystem::path directory_of(const std::filesystem::path& path);

}  // namespace diffllama
