#pragma once

#include <filesystem>
#include <vector>

namespace diffllama {

/// What is read of a model or of an adapter: the path itself, and of a directory the files that are
/// there of those which make one: config, tokenizer, weights, the shards that an index names.
std::vector<std::filesystem::path> model_files(const std::filesystem::path& model);

}  // namespace diffllama
