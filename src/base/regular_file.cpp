#include "base/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& name, const char* what, int error) {
  throw IoError(name + ": cannot " + what + ": " + std::generic_category().message(error));
}

const char* kind_name(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

std::string read_to_end(int descriptor, const std::string& name, std::size_t expected) {
  std::string text;
  text.reserve(expected);
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t size = ::read(descriptor, buffer.data(), buffer.size());
    if (size == 0) return text;
    if (size < 0 && errno != EINTR) fail(name, "read", errno);
    if (size > 0) text.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

}  // namespace

RegularFile::RegularFile(const fs::path& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) fail(path.string(), "open", errno);
  struct stat status {};
  const int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::size_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (error != 0) fail(path.string(), "read the size", error);
  throw IoError(path.string() + ": expected a file, got " + kind_name(status.st_mode));
}

RegularFile::~RegularFile() { ::close(descriptor_); }

std::string read_file(const fs::path& path) {
  const RegularFile file(path);
  return read_to_end(file.descriptor(), path.string(), file.size());
}

std::string read_file_if_there(const fs::path& path) {
  std::error_code error;
  // Any other failure is for open() to name.
  return fs::status(path, error).type() == fs::file_type::not_found ? "" : read_file(path);
}

std::string read_file_or_pipe(const fs::path& path) {
  std::error_code error;
  if (!fs::is_fifo(path, error)) return read_file(path);
  const int pipe = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (pipe < 0) fail(path.string(), "open", errno);
  try {
    std::string text = read_to_end(pipe, path.string(), 0);
    ::close(pipe);
    return text;
  } catch (const IoError&) {
    ::close(pipe);
    throw;
  }
}

std::string read_standard_input() { return read_to_end(STDIN_FILENO, "standard input", 0); }

void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free descriptor is this stream, since those below are taken by now.
    ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace diffllama
