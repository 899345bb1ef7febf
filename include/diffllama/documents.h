#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace [[gnu::visibility("default")]] diffllama {

/// automatic: by the name, rows for .jsonl, .ndjson, .json, .csv and .tsv, plain text for others.
/// json_lines: rows; of what kind the name says, JSON lines where it says nothing. A file may be
/// packed by gzip or zstd, with .gz or .zst behind its name.
enum class DocumentFormat { automatic, text, json_lines };

/// What a document of a text file is: the file, or its lines up to a blank one.
enum class TextDocuments { file, blank_line };

struct Document {
  std::string text;   // bytes as they are; the tokenizer reads what is not UTF-8 as U+FFFD
  std::string where;  // "PATH", or "PATH:LINE"
};

/// Documents for language modelling, one after another: a text file is one or several
/// (TextDocuments; lines then end in "\n" alone), a row {"text": ...} is one (other fields are
/// ignored). Holds one document at a time.
class DocumentReader {
 public:
  /// A directory stands for the files .txt, .jsonl, .ndjson, .json, .csv and .tsv in it, sorted by
  /// name. `text_column`: the field of a row that holds its text, "a.b" for b inside of a. Throws
  /// IoError for what is not there.
  explicit DocumentReader(const std::vector<std::filesystem::path>& paths,
                          DocumentFormat format = DocumentFormat::automatic,
                          TextDocuments text_documents = TextDocuments::file,
                          const std::string& text_column = "text");
  ~DocumentReader();
  DocumentReader(DocumentReader&&) noexcept;
  DocumentReader& operator=(DocumentReader&&) noexcept;

  /// Sets `document` to the next one; false at the end. Throws IoError, and FormatError for a row
  /// that is none; the next call goes on behind it.
  bool next(Document& document);
  const std::vector<std::filesystem::path>& files() const;
  /// For progress: bytes read so far, and of all files (0 when a size is unknown: a pipe).
  std::uint64_t bytes_read() const;
  std::uint64_t total_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
