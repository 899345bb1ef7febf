#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "training/data/data_file.h"

namespace diffllama {

/// The records of a table in the form of RFC 4180, the first of which names the columns: fields
/// between commas (or tabs), those in double quotes with commas, ends of lines and doubled quotes
/// inside. Lines end with "\n" or "\r\n"; empty ones between records are left out. Between tabs a
/// quote inside a field is a character like others.
class CsvReader {
 public:
  /// `separator`: ',' or '\t'. Throws IoError, and FormatError "PATH:LINE: ..." for a header that
  /// is none: no column, a column without a name, or a name twice.
  CsvReader(std::filesystem::path path, char separator);

  const std::vector<std::string>& columns() const { return columns_; }
  /// Sets `fields` to the next record's, one for each column; false at the end. Throws IoError, and
  /// FormatError "PATH:LINE: ..." for a record that is none or of more than kLongestRow bytes; the
  /// next call goes on behind it.
  bool next(std::vector<std::string>& fields);
  /// "PATH:LINE" where the last record begins.
  std::string where() const;
  std::uint64_t bytes_read() const { return file_.position(); }

 private:
  int peek();
  int get();
  bool read_record(std::vector<std::string>& fields);
  void append(std::string& field);
  std::string quoted_field();
  std::string plain_field();
  bool at_line_end();
  void skip_line();
  [[noreturn]] void refuse(const std::string& expected, const std::string& found);

  std::filesystem::path path_;
  DataFile file_;
  char separator_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::int64_t line_ = 1, record_line_ = 1;
  std::size_t record_bytes_ = 0;
  std::vector<std::string> columns_;
};

}  // namespace diffllama
