#include "training/data/line_reader.h"

#include <algorithm>
#include <utility>

namespace diffllama {

LineReader::LineReader(std::filesystem::path path)
    : path_(std::move(path)), file_(path_), buffer_(std::size_t{1} << 16) {}

bool LineReader::next(std::string& line) {
  line.clear();
  bool ended = false, any = false;
  while (!ended) {
    if (at_ == end_) {
      at_ = 0;
      end_ = file_.read(buffer_);
      if (end_ == 0) break;
    }
    any = true;
    const auto begin = buffer_.begin() + static_cast<std::ptrdiff_t>(at_);
    const auto stop = std::find(begin, buffer_.begin() + static_cast<std::ptrdiff_t>(end_), '\n');
    line.append(begin, stop);
    at_ += static_cast<std::size_t>(stop - begin);
    ended = at_ < end_;
    if (ended) ++at_;
  }
  if (!any) return false;
  ++number_;
  bytes_read_ += line.size() + (ended ? 1 : 0);
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

std::string LineReader::where() const { return path_.string() + ":" + std::to_string(number_); }

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t") == std::string::npos;
}

}  // namespace diffllama
