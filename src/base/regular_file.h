#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace diffllama {

/// A regular file, open for reading. A pipe, a directory or a device in its place is refused, and
/// opening never waits.
class RegularFile {
 public:
  /// Throws IoError "PATH: cannot open: REASON" or "PATH: expected a file, got a pipe".
  explicit RegularFile(const std::filesystem::path& path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  int descriptor() const { return descriptor_; }
  std::size_t size() const { return size_; }

 private:
  int descriptor_;
  std::size_t size_ = 0;
};

/// The content of a regular file. Throws IoError.
std::string read_file(const std::filesystem::path& path);
/// The same, and "" where there is none of that name.
std::string read_file_if_there(const std::filesystem::path& path);
/// Of a regular file or of a pipe, such as a shell's <(command), to its end. Throws IoError.
std::string read_file_or_pipe(const std::filesystem::path& path);
/// What standard input holds up to its end. Throws IoError where it is closed, a directory, or
/// cannot be read.
std::string read_standard_input();

/// For main(): puts something that cannot be read, or written, in the place of each standard stream
/// that is closed. The next file to be opened would otherwise become that stream.
void occupy_closed_streams();

}  // namespace diffllama
