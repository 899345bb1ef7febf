#include "training/data/documents.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <system_error>

#include "diffllama/error.h"
#include "training/data/data_file.h"
#include "training/data/line_reader.h"
#include "training/data/rows.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

bool has_rows_name(const fs::path& file) {
  constexpr std::array<std::string_view, 5> kNames = {".jsonl", ".ndjson", ".json", ".csv", ".tsv"};
  return std::ranges::find(kNames, unpacked_name(file).extension().string()) != kNames.end();
}

}  // namespace

bool has_rows(const fs::path& file, DocumentFormat format) {
  return format == DocumentFormat::automatic ? has_rows_name(file)
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
      const bool wanted =
          has_rows_name(entry.path()) || unpacked_name(entry.path()).extension() == ".txt";
      if (wanted && entry.is_regular_file(error)) files.push_back(entry.path());
    }
    if (files.size() == before) {
      throw IoError(path.string() + ": expected .txt, .jsonl, .ndjson or .json files, got none");
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  return files;
}

struct [[gnu::visibility("hidden")]] DocumentReader::Impl {
  bool next_of_file(Document & document);
  std::uint64_t bytes_read() const {
    return bytes_of_finished + (rows ? rows->bytes_read() : 0) +
           (text_lines ? text_lines->bytes_read() : 0);
  }

  std::vector<fs::path> files;
  DocumentFormat format = DocumentFormat::automatic;
  TextDocuments text_documents = TextDocuments::file;
  std::string text_column;
  std::size_t next_file = 0;
  // Of the file before next_file; at most one of both.
  std::unique_ptr<RowReader> rows;
  std::optional<LineReader> text_lines;
  std::uint64_t bytes_of_finished = 0, total_bytes = 0;
};

DocumentReader::DocumentReader(const std::vector<fs::path>& paths, DocumentFormat format,
                               TextDocuments text_documents, const std::string& text_column)
    : impl_(std::make_unique<Impl>()) {
  impl_->text_column = text_column;
  impl_->files = document_files(paths);
  impl_->format = format;
  impl_->text_documents = text_documents;
  std::error_code error;
  for (const fs::path& file : impl_->files) {
    const std::uintmax_t size = fs::file_size(file, error);
    if (error) {
      impl_->total_bytes = 0;
      return;
    }
    impl_->total_bytes += size;
  }
}

DocumentReader::~DocumentReader() = default;
DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;
DocumentReader& DocumentReader::operator=(DocumentReader&&) noexcept = default;

const std::vector<fs::path>& DocumentReader::files() const { return impl_->files; }
std::uint64_t DocumentReader::bytes_read() const { return impl_->bytes_read(); }
std::uint64_t DocumentReader::total_bytes() const { return impl_->total_bytes; }

// The next one of the file that is open by lines; false at its end.
bool DocumentReader::Impl::next_of_file(Document& document) {
  if (rows) {
    DataRow row;
    if (!rows->next(row)) return false;
    document.where = row.where;
    document.text = string_field(row, text_column);
    return true;
  }
  document.text.clear();
  for (std::string line; text_lines->next(line);) {
    if (is_blank(line)) {
      if (document.text.empty()) continue;
      return true;
    }
    if (document.text.empty()) document.where = text_lines->where();
    document.text += line;
    document.text += '\n';
  }
  return !document.text.empty();
}

bool DocumentReader::next(Document& document) {
  Impl& impl = *impl_;
  while (true) {
    if (impl.rows || impl.text_lines) {
      if (impl.next_of_file(document)) return true;
      impl.bytes_of_finished = impl.bytes_read();
      impl.rows.reset();
      impl.text_lines.reset();
    }
    if (impl.next_file == impl.files.size()) return false;
    const fs::path& file = impl.files[impl.next_file++];
    if (has_rows(file, impl.format)) {
      impl.rows = RowReader::open(file);
    } else if (impl.text_documents == TextDocuments::blank_line) {
      impl.text_lines.emplace(file);
    } else {
      document.where = file.string();
      document.text = read_data_file(file);
      std::error_code error;
      impl.bytes_of_finished += fs::file_size(file, error);
      return true;
    }
  }
}

}  // namespace diffllama
