#pragma once

#include <filesystem>

namespace diffllama {

/// Where the model lies that a user means by `path`: a directory without a config.json stands for
/// the one sub-folder that has one (as trainers leave "checkpoint-500"). A path without such a
/// sub-folder is itself. Throws IoError where nothing is there, and one that names the sub-folders
/// where several have one.
std::filesystem::path find_model(const std::filesystem::path& path);

}  // namespace diffllama
