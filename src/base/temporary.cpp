#include "base/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = ".diffllama-";
constexpr std::string_view kSuffix = ".tmp";

[[noreturn]] void fail(const fs::path& path, const std::string& what, int error) {
  throw IoError(path.string() + ": cannot " + what + ": " + std::generic_category().message(error));
}

// 80 random bits.
std::string random_name() {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuv";
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw IoError("expected random bytes from the system, got an error");
  }
  std::string name(kPrefix);
  for (const unsigned char byte : bytes) name += kLetters[byte % kLetters.size()];
  return name.append(kSuffix);
}

bool is_temporary_name(const std::string& name) {
  return name.size() > kPrefix.size() + kSuffix.size() && name.starts_with(kPrefix) &&
         name.ends_with(kSuffix);
}

// Only what is ours and nobody has locked; a lock is its process's, and ends with it.
void remove_if_left(const fs::path& path) noexcept {
  int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) file = ::open(path.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return;
  struct stat status {};
  if (::fstat(file, &status) == 0 && status.st_uid == ::geteuid() &&
      (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) &&
      ::flock(file, LOCK_EX | LOCK_NB) == 0) {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  ::close(file);
}

}  // namespace

fs::path directory_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

void remove_leftovers(const fs::path& directory) noexcept {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (is_temporary_name(entry->path().filename())) found.push_back(entry->path());
  }
  for (const fs::path& path : found) remove_if_left(path);
}

Temporary::Temporary(const fs::path& path, Kind kind) {
  const fs::path directory = directory_of(path);
  remove_leftovers(directory);
  do {
    path_ = directory / random_name();
    removed_on_signal_.emplace(path_);
    if (!make(kind) && errno != EEXIST) fail(path, "create", errno);
    // Another process may have taken it for a leftover before it was locked: then it is gone, or
    // soon will be.
    struct stat status {};
    if (descriptor_ >= 0 &&
        ((::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) ||
         ::fstat(descriptor_, &status) != 0 || status.st_nlink == 0)) {
      forget();
    }
  } while (descriptor_ < 0);
}

// Sets errno where it fails.
bool Temporary::make(Kind kind) {
  if (kind == Kind::file) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return descriptor_ >= 0;
  }
  if (::mkdir(path_.c_str(), 0777) != 0) return false;
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor_ < 0 && errno == ENOENT) errno = EEXIST;  // removed as a leftover: another name
  return descriptor_ >= 0;
}

Temporary::~Temporary() {
  if (descriptor_ < 0) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  forget();
}

void Temporary::rename_to(const fs::path& path) {
  if (::rename(path_.c_str(), path.c_str()) != 0) fail(path, "rename into place", errno);
  forget();
}

void Temporary::forget() noexcept {
  ::close(descriptor_);
  descriptor_ = -1;
  removed_on_signal_.reset();
}

}  // namespace diffllama
