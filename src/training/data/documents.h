#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/documents.h"
#include "training/data/line_reader.h"

namespace diffllama {

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

/// What DocumentReader takes a file for.
bool is_json_lines(const std::filesystem::path& file, DocumentFormat format);

/// The files that DocumentReader reads for `paths`.
std::vector<std::filesystem::path> document_files(const std::vector<std::filesystem::path>& paths);

}  // namespace diffllama
