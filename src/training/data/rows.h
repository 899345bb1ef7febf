#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

namespace diffllama {

/// A row of data: the members of a JSON object, or the fields of a table by their columns' names.
struct DataRow {
  nlohmann::json fields;
  bool of_table = false;  // all fields are strings then
  std::string where;      // "PATH:LINE", or "PATH[3]" of a JSON array
};

/// How the rows of a file are written. automatic: by its name, without .gz or .zst: .csv, .tsv,
/// .json (an array, where it begins with "["), JSON lines for all others.
enum class RowFormat { automatic, json_lines, json_array, csv, tsv };

/// The rows of a file, one after another.
class RowReader {
 public:
  /// Throws IoError, and FormatError for a table without a header and a JSON array that is none.
  static std::unique_ptr<RowReader> open(const std::filesystem::path& path,
                                         RowFormat format = RowFormat::automatic);
  RowReader() = default;
  virtual ~RowReader() = default;
  RowReader(const RowReader&) = delete;
  RowReader& operator=(const RowReader&) = delete;

  /// Sets `row` to the next one; false at the end. Throws IoError, and FormatError "WHERE: ..." for
  /// a row that is none; the next call goes on behind it.
  virtual bool next(DataRow& row) = 0;
  /// Bytes of the file that were read, for progress.
  virtual std::uint64_t bytes_read() const = 0;
};

/// The format of a file by its name and, for .json, its first character.
RowFormat row_format_of(const std::filesystem::path& path);

/// The field of this name: the member that is called so, or the way to one inside, "answers.text".
/// Null where there is none.
const nlohmann::json* find_field(const nlohmann::json& fields, const std::string& name);
/// Throws FormatError "WHERE: expected ..." where there is none.
const nlohmann::json& required_field(const DataRow& row, const std::string& name);
/// A field that is a string. Throws FormatError.
std::string string_field(const DataRow& row, const std::string& name);

}  // namespace diffllama
