#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "training/data/line_reader.h"

namespace diffllama {

/// automatic: by the name, JSON lines for .jsonl, .ndjson and .json, plain text for others.
enum class DocumentFormat { automatic, text, json_lines };

/// What a document of a text file is: the file, or its lines up to a blank one.
enum class TextDocuments { file, blank_line };

struct Document {
  std::string text;   // bytes as they are; the tokenizer reads what is not UTF-8 as U+FFFD
  std::string where;  // "PATH", or "PATH:LINE"
};

/// The objects of a file of JSON lines, blank lines left out. What is not UTF-8 is read as U+FFFD.
class JsonLineReader {
 public:
  /// Throws IoError.
  explicit JsonLineReader(std::filesystem::path path) : lines_(std::move(path)) {}
  /// Sets `object` to the next one; false at the end. Throws FormatError "PATH:LINE: ..." for a
  /// line that is not one JSON object.
  bool next(nlohmann::json& object);
  std::string where() const { return lines_.where(); }
  std::uint64_t bytes_read() const { return lines_.bytes_read(); }

 private:
  LineReader lines_;
  std::string line_;
};

/// The string `field` of an object of JSON lines. Throws FormatError "WHERE: ...".
std::string text_field(const nlohmann::json& object, const char* field, const std::string& where);

/// Documents for language modelling, one after another: a text file is one or several
/// (TextDocuments; lines then end in "\n" alone), a line {"text": ...} of JSON lines is one (other
/// fields are ignored). Holds one document at a time.
class DocumentReader {
 public:
  /// A directory stands for the files .txt, .jsonl, .ndjson and .json in it, sorted by name. Throws
  /// IoError for what is not there.
  explicit DocumentReader(const std::vector<std::filesystem::path>& paths,
                          DocumentFormat format = DocumentFormat::automatic,
                          TextDocuments text_documents = TextDocuments::file);

  /// Sets `document` to the next one; false at the end. Throws IoError, FormatError.
  bool next(Document& document);
  const std::vector<std::filesystem::path>& files() const { return files_; }
  /// For progress: bytes read so far, and of all files (0 when a size is unknown: a pipe).
  std::uint64_t bytes_read() const;
  std::uint64_t total_bytes() const { return total_bytes_; }

 private:
  bool next_of_file(Document& document);

  std::vector<std::filesystem::path> files_;
  DocumentFormat format_;
  TextDocuments text_documents_;
  std::size_t next_file_ = 0;
  // Of the file before next_file_; at most one of both.
  std::optional<JsonLineReader> json_lines_;
  std::optional<LineReader> text_lines_;
  std::uint64_t bytes_of_finished_ = 0, total_bytes_ = 0;
};

/// What DocumentReader takes a file for.
bool is_json_lines(const std::filesystem::path& file, DocumentFormat format);

/// The files that DocumentReader reads for `paths`.
std::vector<std::filesystem::path> document_files(const std::vector<std::filesystem::path>& paths);

}  // namespace diffllama
