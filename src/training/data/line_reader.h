#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace diffllama {

/// The lines of a text file, one after another.
class LineReader {
 public:
  /// Throws IoError for a path that cannot be read.
  explicit LineReader(std::filesystem::path path);

  /// Sets `line` to the next one, without its "\n" or "\r\n"; false at the end. Throws IoError.
  bool next(std::string& line);
  /// "PATH:LINE" of the last line.
  std::string where() const;
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  std::filesystem::path path_;
  std::ifstream file_;
  std::int64_t number_ = 0;
  std::uint64_t bytes_read_ = 0;
};

/// Nothing but spaces and tabs.
bool is_blank(const std::string& line);

}  // namespace diffllama
