#include "base/unfinished_directory.h"

#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "diffllama/error.h"

namespace diffllama {

namespace fs = std::filesystem;

UnfinishedDirectory::UnfinishedDirectory(fs::path path, fs::path unfinished)
    : path_(std::move(path)), unfinished_(std::move(unfinished)) {
  std::error_code error;
  fs::create_directories(unfinished_, error);
  if (error) throw IoError(path_.string() + ": cannot create: " + error.message());
}

UnfinishedDirectory::~UnfinishedDirectory() {
  std::error_code error;
  if (!unfinished_.empty()) fs::remove_all(unfinished_, error);
}

void UnfinishedDirectory::commit() {
  flush_directory(unfinished_);
  std::error_code error;
  fs::rename(unfinished_, path_, error);
  if (error) throw IoError(path_.string() + ": cannot create: " + error.message());
  unfinished_.clear();
  flush_directory(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
}

}  // namespace diffllama
