#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int error) {
  throw IoError(path.string() + ": cannot " + what + ": " + std::generic_category().message(error));
}

}  // namespace

void flush_directory(const std::filesystem::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(directory, "open", errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some file systems cannot flush a directory (EINVAL); they have no better to offer.
  if (error != 0 && error != EINVAL) fail(directory, "flush", error);
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  struct stat old {};
  const bool replaces = ::stat(path_.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) {
    throw IoError(path_.string() + ": cannot write: expected a regular file or none, got " +
                  (S_ISDIR(old.st_mode) ? "a directory" : "a device or pipe"));
  }
  temporary_.emplace(path_, Temporary::Kind::file);
  if (replaces && ::fchmod(temporary_->descriptor(), old.st_mode & 07777) != 0) {
    fail(path_, "set the mode of the new file", errno);
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (buffer_.capacity() == 0) buffer_.reserve(kBufferBytes);
    const std::size_t part = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
    bytes = bytes.subspan(part);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void AtomicFile::flush() {
  std::span<const std::byte> left(buffer_);
  while (!left.empty()) {
    const ssize_t written = ::write(temporary_->descriptor(), left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "write", errno);
    left = left.subspan(static_cast<std::size_t>(written));
  }
  buffer_.clear();
}

void AtomicFile::commit() {
  flush();
  if (::fsync(temporary_->descriptor()) != 0) fail(path_, "flush", errno);
  temporary_->rename_to(path_);
  flush_directory(directory_of(path_));
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace diffllama
