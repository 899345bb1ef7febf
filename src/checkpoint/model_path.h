#pragma once

#include <filesystem>

namespace diffllama {

/// Where the tokenizer and the chat templates lie that a user means by `path`: a directory without
/// any of their files stands for what find_model() finds in it. A path where nothing is stays as it
/// is. Throws IoError as find_model() does.
std::filesystem::path find_tokenizer(const std::filesystem::path& path);

}  // namespace diffllama
