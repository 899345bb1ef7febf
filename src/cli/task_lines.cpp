#include "cli/task_lines.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/validators.h"
#include "diffllama/error.h"

namespace diffllama::cli {

void add_task_input_options(CLI::App& command, TaskInputOptions& options, const char* text_help) {
  auto* file = add_path_option(command, "-f,--file", options.file,
                               "JSON lines to read (default: standard input)");
  command.add_option("-p,--prompt", options.text, text_help)->excludes(file);
}

InputLines::InputLines(const std::optional<std::string>& file)
    : path_(file.value_or("stdin")),
      file_(file ? ::open(file->c_str(), O_RDONLY | O_CLOEXEC) : STDIN_FILENO) {
  struct stat status {};
  if (file_ < 0 || ::fstat(file_, &status) != 0) {
    throw IoError(path_ + ": cannot open: " + std::generic_category().message(errno));
  }
  if (S_ISREG(status.st_mode)) total_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

InputLines::~InputLines() {
  if (file_ != STDIN_FILENO) ::close(file_);
}

bool InputLines::read_more() {
  constexpr std::size_t kBytes = std::size_t{1} << 16;
  if (ended_) return false;
  buffer_.erase(0, at_);
  at_ = 0;
  const std::size_t size = buffer_.size();
  buffer_.resize(size + kBytes);
  ssize_t count = 0;
  do {
    count = ::read(file_, buffer_.data() + size, kBytes);
  } while (count < 0 && errno == EINTR);
  buffer_.resize(size + static_cast<std::size_t>(count < 0 ? 0 : count));
  if (count < 0) throw IoError(path_ + ": cannot read: " + std::generic_category().message(errno));
  ended_ = count == 0;
  return !ended_;
}

bool InputLines::next(std::string& line) {
  while (true) {
    std::size_t end = buffer_.find('\n', at_);
    for (std::size_t from = buffer_.size() - at_; end == std::string::npos && read_more();
         from = buffer_.size() - at_) {
      end = buffer_.find('\n', at_ + from);  // what was there had none
    }
    if (end == std::string::npos && at_ == buffer_.size()) return false;
    ++number_;
    line = buffer_.substr(at_, end == std::string::npos ? end : end - at_);
    at_ = end == std::string::npos ? buffer_.size() : end + 1;
    bytes_read_ += line.size() + 1;
    if (line.find_first_not_of(" \t\r") != std::string::npos) return true;
  }
}

bool InputLines::ready() const {
  if (ended_ || buffer_.find('\n', at_) != std::string::npos) return true;
  pollfd poll{.fd = file_, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

std::string InputLines::where() const { return path_ + ":" + std::to_string(number_); }

nlohmann::json parse_line(const std::string& line, const std::string& where) {
  nlohmann::json object = parse_json(replace_invalid_utf8(line), where);
  if (!object.is_object()) {
    throw FormatError(where + ": expected a JSON object, got " + json_excerpt(object));
  }
  return object;
}

std::string text_field(const nlohmann::json& object, const char* field, const std::string& where) {
  const auto found = object.find(field);
  if (found == object.end()) {
    throw FormatError(where + ": expected an object with \"" + field + "\", got " +
                      json_excerpt(object));
  }
  if (!found->is_string()) {
    throw FormatError(where + ": " + field + ": expected a string, got " + json_excerpt(*found));
  }
  return found->get<std::string>();
}

void print_json_line(const nlohmann::ordered_json& line) {
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

}  // namespace diffllama::cli
