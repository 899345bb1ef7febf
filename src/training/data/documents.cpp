#include "training/data/documents.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "base/json.h"
#include "base/mapped_file.h"
#include "diffllama/error.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

bool has_json_name(const fs::path& file) {
  constexpr std::array<std::string_view, 3> kNames = {".jsonl", ".ndjson", ".json"};
  return std::ranges::find(kNames, file.extension().string()) != kNames.end();
}

std::string read_text(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

bool JsonLineReader::next(nlohmann::json& object) {
  do {
    if (!lines_.next(line_)) return false;
  } while (is_blank(line_));
  object = parse_json(replace_invalid_utf8(line_), where());
  if (!object.is_object()) {
    throw FormatError(where() + ": expected an object, got " + json_excerpt(object));
  }
  return true;
}

std::string text_field(const nlohmann::json& object, const char* field, const std::string& where) {
  const auto text = object.find(field);
  if (text == object.end() || !text->is_string()) {
    throw FormatError(where + ": expected an object with a string \"" + field + "\", got " +
                      json_excerpt(text == object.end() ? object : *text));
  }
  return text->get<std::string>();
}

bool is_json_lines(const fs::path& file, DocumentFormat format) {
  return format == DocumentFormat::automatic ? has_json_name(file)
                                             : format == DocumentFormat::json_lines;
}

std::vector<fs::path> document_files(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) throw IoError(path.string() + ": expected a file, got none");
    if (!fs::is_directory(status)) {
      files.push_back(path);
      continue;
    }
    const std::size_t before = files.size();
    fs::directory_iterator entries(path, error);
    if (error) throw IoError(path.string() + ": cannot open: " + error.message());
    for (const fs::directory_entry& entry : entries) {
      const bool wanted = has_json_name(entry.path()) || entry.path().extension() == ".txt";
      if (wanted && entry.is_regular_file(error)) files.push_back(entry.path());
    }
    if (files.size() == before) {
      throw IoError(path.string() + ": expected .txt, .jsonl, .ndjson or .json files, got none");
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  return files;
}

DocumentReader::DocumentReader(const std::vector<fs::path>& paths, DocumentFormat format)
    : files_(document_files(paths)), format_(format) {
  std::error_code error;
  for (const fs::path& file : files_) {
    const std::uintmax_t size = fs::file_size(file, error);
    if (error) {
      total_bytes_ = 0;
      return;
    }
    total_bytes_ += size;
  }
}

std::uint64_t DocumentReader::bytes_read() const {
  return bytes_of_finished_ + (lines_ ? lines_->bytes_read() : 0);
}

bool DocumentReader::next(Document& document) {
  while (true) {
    if (lines_) {
      nlohmann::json object;
      if (lines_->next(object)) {
        document.where = lines_->where();
        document.text = text_field(object, "text", document.where);
        return true;
      }
      bytes_of_finished_ += lines_->bytes_read();
      lines_.reset();
    }
    if (next_file_ == files_.size()) return false;
    const fs::path& file = files_[next_file_++];
    if (is_json_lines(file, format_)) {
      lines_.emplace(file);
      continue;
    }
    document.where = file.string();
    document.text = read_text(file);
    bytes_of_finished_ += document.text.size();
    return true;
  }
}

}  // namespace diffllama
