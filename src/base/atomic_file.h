#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/temporary.h"
#include "diffllama/files.h"  // write_file_atomically

namespace diffllama {

/// Writes a file so that its path always holds the whole old content or the whole new one, even
/// after kill -9 or a loss of power: the content goes to a temporary file in the same directory
/// (Temporary), is flushed to the disk by commit(), and is renamed. Without commit() the temporary
/// is removed and the old file stays. A new file gets the mode that umask gives, a replaced one
/// keeps its mode; a symbolic link is replaced, not followed.
class AtomicFile {
 public:
  /// Throws IoError when the directory cannot be written to or `path` is there but no regular file.
  explicit AtomicFile(std::filesystem::path path);

  /// Appends. Throws IoError (disk full, ...); the file must then be given up.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Flushes and renames; nothing may be written after it. Throws IoError.
  void commit();

 private:
  void flush();

  std::filesystem::path path_;
  std::optional<Temporary> temporary_;
  std::vector<std::byte> buffer_;
};

/// Makes the names in a directory last: files that were created, renamed or removed there. Throws
/// IoError.
void flush_directory(const std::filesystem::path& directory);

}  // namespace diffllama
