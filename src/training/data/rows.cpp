#include "training/data/rows.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/utf8.h"
#include "diffllama/error.h"
#include "training/data/csv.h"
#include "training/data/data_file.h"
#include "training/data/line_reader.h"

namespace diffllama {
namespace {

using nlohmann::json;

void require_object(const json& value, const std::string& where) {
  if (value.is_object()) return;
  throw FormatError(where + ": expected an object, got " + json_excerpt(value));
}

class LineRows : public RowReader {
 public:
  explicit LineRows(std::filesystem::path path) : lines_(std::move(path)) {}
  bool next(DataRow& row) override {
    do {
      if (!lines_.next(line_)) return false;
    } while (is_blank(line_));
    row.where = lines_.where();
    row.of_table = false;
    row.fields = parse_json(replace_invalid_utf8(line_), row.where);
    require_object(row.fields, row.where);
    return true;
  }
  std::uint64_t bytes_read() const override { return lines_.bytes_read(); }

 private:
  LineReader lines_;
  std::string line_;
};

class ArrayRows : public RowReader {
 public:
  explicit ArrayRows(std::filesystem::path path) : path_(std::move(path)) {
    const std::string text = replace_invalid_utf8(read_data_file(path_));
    bytes_ = text.size();
    JsonLimits limits;
    limits.extra_bytes += 16 * text.size();  // many short strings, each with its own allocation
    rows_ = parse_json(text, path_.string(), limits);
    if (!rows_.is_array()) {
      throw FormatError(path_.string() + ": expected a list of objects, got " +
                        json_excerpt(rows_));
    }
  }
  bool next(DataRow& row) override {
    if (next_ == rows_.size()) return false;
    row.where = path_.string() + "[" + std::to_string(next_) + "]";
    row.of_table = false;
    row.fields = std::move(rows_[next_++]);
    require_object(row.fields, row.where);
    return true;
  }
  std::uint64_t bytes_read() const override { return bytes_; }

 private:
  std::filesystem::path path_;
  json rows_;
  std::size_t next_ = 0;
  std::uint64_t bytes_ = 0;
};

class TableRows : public RowReader {
 public:
  TableRows(std::filesystem::path path, char separator) : csv_(std::move(path), separator) {}
  bool next(DataRow& row) override {
    if (!csv_.next(values_)) return false;
    row.where = csv_.where();
    row.of_table = true;
    row.fields = json::object();
    for (std::size_t i = 0; i < values_.size(); ++i) {
      row.fields[csv_.columns()[i]] = replace_invalid_utf8(values_[i]);
    }
    return true;
  }
  std::uint64_t bytes_read() const override { return csv_.bytes_read(); }

 private:
  CsvReader csv_;
  std::vector<std::string> values_;
};

bool begins_with_bracket(const std::filesystem::path& path) {
  DataFile file(path);
  for (char c = 0; file.read({&c, 1}) == 1;) {
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return c == '[';
  }
  return false;
}

}  // namespace

RowFormat row_format_of(const std::filesystem::path& path) {
  const std::string extension = unpacked_name(path).extension().string();
  if (extension == ".csv") return RowFormat::csv;
  if (extension == ".tsv") return RowFormat::tsv;
  if (extension == ".json" && begins_with_bracket(path)) return RowFormat::json_array;
  return RowFormat::json_lines;
}

std::unique_ptr<RowReader> RowReader::open(const std::filesystem::path& path, RowFormat format) {
  switch (format == RowFormat::automatic ? row_format_of(path) : format) {
    case RowFormat::csv:
      return std::make_unique<TableRows>(path, ',');
    case RowFormat::tsv:
      return std::make_unique<TableRows>(path, '\t');
    case RowFormat::json_array:
      return std::make_unique<ArrayRows>(path);
    case RowFormat::json_lines:
    case RowFormat::automatic:
      break;
  }
  return std::make_unique<LineRows>(path);
}

const json* find_field(const json& fields, const std::string& name) {
  if (!fields.is_object()) return nullptr;
  if (const auto found = fields.find(name); found != fields.end()) return &*found;
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const auto outer = fields.find(name.substr(0, dot));
    if (outer == fields.end()) continue;
    if (const json* inner = find_field(*outer, name.substr(dot + 1))) return inner;
  }
  return nullptr;
}

const json& required_field(const DataRow& row, const std::string& name) {
  const json* field = find_field(row.fields, name);
  if (field != nullptr) return *field;
  throw FormatError(row.where + ": expected " +
                    (row.of_table ? "a column \"" : "an object with a \"") + name + "\", got " +
                    json_excerpt(row.fields));
}

std::string string_field(const DataRow& row, const std::string& name) {
  const json* field = find_field(row.fields, name);
  if (field == nullptr || !field->is_string()) {
    throw FormatError(row.where + ": expected " +
                      (row.of_table ? "a column \"" : "an object with a string \"") + name +
                      "\", got " + json_excerpt(field == nullptr ? row.fields : *field));
  }
  return field->get<std::string>();
}

}  // namespace diffllama
