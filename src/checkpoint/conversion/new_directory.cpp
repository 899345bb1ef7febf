#include "checkpoint/conversion/new_directory.h"

#include <system_error>

#include "diffllama/error.h"

namespace diffllama {

namespace fs = std::filesystem;

UnfinishedDirectory new_directory(fs::path path) {
  if (!path.has_filename()) path = path.parent_path();  // "model/"
  std::error_code error;
  const bool directory = fs::is_directory(path, error);
  if (fs::exists(path, error) && !(directory && fs::is_empty(path, error))) {
    throw IoError(path.string() + ": expected no such path or an empty directory, got " +
                  (directory ? "a directory with files" : "a file"));
  }
  return UnfinishedDirectory(path);
}

}  // namespace diffllama
