#include "training/data/line_reader.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/regular_file.h"
#include "diffllama/error.h"

namespace diffllama {

LineReader::LineReader(std::filesystem::path path) : path_(std::move(path)) {
  const RegularFile checked(path_);  // opening a pipe below would wait
  file_.open(path_, std::ios::binary);
  if (!file_) {
    throw IoError(path_.string() + ": cannot open: " + std::generic_category().message(errno));
  }
}

bool LineReader::next(std::string& line) {
  if (!std::getline(file_, line)) {
    if (file_.bad()) throw IoError(path_.string() + ": expected to read it, got an error");
    return false;
  }
  ++number_;
  bytes_read_ += line.size() + (file_.eof() ? 0 : 1);
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

std::string LineReader::where() const { return path_.string() + ":" + std::to_string(number_); }

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t") == std::string::npos;
}

}  // namespace diffllama
