#include "training/data/csv.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr int kEnd = -1;
constexpr std::size_t kBufferBytes = std::size_t{1} << 16;

std::string character(int c) {
  return c == kEnd ? "the end of the file"
                   : std::string("\"").append(1, static_cast<char>(c)).append("\"");
}

}  // namespace

CsvReader::CsvReader(std::filesystem::path path, char separator)
    : path_(std::move(path)), file_(path_), separator_(separator), buffer_(kBufferBytes) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  peek();
  if (std::string_view(buffer_.data(), end_).starts_with(kMark)) at_ = kMark.size();
  std::vector<std::string> names;
  if (!read_record(names)) refuse("a line that names the columns", "an empty file");
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (name.empty()) refuse("a name for each column", "an empty one");
    if (!seen.insert(name).second) refuse("columns with different names", '"' + name + "\" twice");
  }
  columns_ = std::move(names);
}

bool CsvReader::next(std::vector<std::string>& fields) {
  if (!read_record(fields)) return false;
  if (fields.size() != columns_.size()) {
    throw FormatError(where() + ": expected " + std::to_string(columns_.size()) +
                      " fields as the first line has, got " + std::to_string(fields.size()));
  }
  return true;
}

std::string CsvReader::where() const { return path_.string() + ":" + std::to_string(record_line_); }

// The next byte, or kEnd.
int CsvReader::peek() {
  if (at_ == end_) {
    at_ = 0;
    end_ = file_.read(buffer_);
    if (end_ == 0) return kEnd;
  }
  return static_cast<unsigned char>(buffer_[at_]);
}

int CsvReader::get() {
  const int c = peek();
  if (c == kEnd) return c;
  ++at_;
  if (c == '\n') ++line_;
  return c;
}

bool CsvReader::read_record(std::vector<std::string>& fields) {
  fields.clear();
  record_bytes_ = 0;
  while (peek() == '\n' || peek() == '\r') get();  // empty lines
  record_line_ = line_;
  if (peek() == kEnd) return false;
  while (true) {
    fields.push_back(peek() == '"' ? quoted_field() : plain_field());
    if (at_line_end()) return true;
    get();  // the separator
  }
}

// Takes the next byte for `field`.
void CsvReader::append(std::string& field) {
  if (++record_bytes_ > kLongestRow) {
    refuse("a record of at most " + std::to_string(kLongestRow) + " bytes", "a longer one");
  }
  field += static_cast<char>(get());
}

std::string CsvReader::quoted_field() {
  std::string field;
  get();
  while (true) {
    const int c = peek();
    if (c == kEnd) refuse("a quote that ends the field", "the end of the file");
    if (c == '"') {
      get();
      if (peek() != '"') break;
    }
    append(field);
  }
  const int c = peek();
  if (c != separator_ && c != '\n' && c != '\r' && c != kEnd) {
    refuse("a separator or the end of the line behind a quote that ends a field", character(c));
  }
  return field;
}

std::string CsvReader::plain_field() {
  std::string field;
  for (int c = peek(); c != separator_ && c != '\n' && c != kEnd; c = peek()) {
    if (c == '"' && separator_ == ',') {
      refuse("quotes around all of a field that holds one, doubled",
             '"' + shortened(field) + R"(\"...")");
    }
    append(field);
  }
  if (peek() != separator_ && field.ends_with('\r')) field.pop_back();
  return field;
}

// Whether a record ends here; takes the end of the line.
bool CsvReader::at_line_end() {
  if (peek() == '\r') get();
  if (peek() == '\n') {
    get();
    return true;
  }
  return peek() == kEnd;
}

void CsvReader::skip_line() {
  for (int c = peek(); c != kEnd && c != '\n'; c = peek()) get();
}

void CsvReader::refuse(const std::string& expected, const std::string& found) {
  const std::string place = where();
  skip_line();
  throw FormatError(place + ": expected " + expected + ", got " + found);
}

}  // namespace diffllama
