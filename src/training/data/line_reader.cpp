#include "training/data/line_reader.h"

#include <utility>

#include "diffllama/error.h"

namespace diffllama {

LineReader::LineReader(std::filesystem::path path)
    : path_(std::move(path)), file_(path_), buffer_(std::size_t{1} << 16) {}

// What the buffer holds of a line, and whether it ends there; false at the end of the file.
bool LineReader::next_part(std::string_view& part, bool& ended) {
  if (at_ == end_) {
    at_ = 0;
    end_ = file_.read(buffer_);
    if (end_ == 0) return false;
  }
  const std::string_view buffered(buffer_.data() + at_, end_ - at_);
  part = buffered.substr(0, buffered.find('\n'));
  ended = part.size() < buffered.size();
  at_ += part.size() + (ended ? 1 : 0);
  bytes_read_ += part.size() + (ended ? 1 : 0);
  return true;
}

bool LineReader::next(std::string& line) {
  std::string_view part;
  bool ended = !too_long_;
  while (!ended && next_part(part, ended)) {
  }
  too_long_ = false;
  line.clear();
  bool any = false;
  for (ended = false; !ended && next_part(part, ended); any = true) {
    if (line.size() + part.size() > kLongestRow) {
      too_long_ = !ended;
      ++number_;
      throw FormatError(where() + ": expected a line of at most " + std::to_string(kLongestRow) +
                        " bytes, got a longer one");
    }
    line.append(part);
  }
  if (!any) return false;
  ++number_;
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

std::string LineReader::where() const { return path_.string() + ":" + std::to_string(number_); }

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t") == std::string::npos;
}

}  // namespace diffllama
