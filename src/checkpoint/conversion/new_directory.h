#pragma once

#include <filesystem>

#include "base/unfinished_directory.h"

namespace diffllama {

/// A directory that a conversion writes. Throws IoError where there is a file or a directory that
/// is not empty.
UnfinishedDirectory new_directory(std::filesystem::path path);

}  // namespace diffllama
