#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "training/data/data_file.h"

namespace diffllama {

/// The lines of a text file, one after another; DataFile unpacks it.
class LineReader {
 public:
  /// Throws IoError for a path that cannot be read.
  explicit LineReader(std::filesystem::path path);

  /// Sets `line` to the next one, without its "\n" or "\r\n"; false at the end. Throws IoError,
  /// and FormatError "PATH:LINE: ..." for one of more than kLongestRow bytes; the next call goes on
  /// behind it.
  bool next(std::string& line);
  /// "PATH:LINE" of the last line.
  std::string where() const;
  /// Of the file, for progress.
  std::uint64_t bytes_read() const { return file_.is_packed() ? file_.position() : bytes_read_; }

 private:
  bool next_part(std::string_view& part, bool& ended);

  std::filesystem::path path_;
  DataFile file_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::int64_t number_ = 0;
  bool too_long_ = false;  // the last line, whose rest comes next
  std::uint64_t bytes_read_ = 0;
};

/// Nothing but spaces and tabs.
bool is_blank(const std::string& line);

}  // namespace diffllama
