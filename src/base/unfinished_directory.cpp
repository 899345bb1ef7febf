#include "base/unfinished_directory.h"

#include <string>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "diffllama/error.h"

namespace diffllama {

namespace fs = std::filesystem;

UnfinishedDirectory::UnfinishedDirectory(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  fs::create_directories(directory_of(path_), error);
  if (error) throw IoError(path_.string() + ": cannot create: " + error.message());
  temporary_.emplace(path_, Temporary::Kind::directory);
}

void UnfinishedDirectory::fill(const std::function<void(const fs::path&)>& write) const {
  try {
    write(unfinished());
  } catch (const IoError& error) {
    std::string message = error.what();
    const std::string& place = unfinished().native();
    for (std::size_t at = 0; (at = message.find(place, at)) != std::string::npos;) {
      message.replace(at, place.size(), path_.native());
      at += path_.native().size();
    }
    throw IoError(message);
  }
}

void UnfinishedDirectory::commit() {
  flush_directory(unfinished());
  temporary_->rename_to(path_);
  flush_directory(directory_of(path_));
}

}  // namespace diffllama
