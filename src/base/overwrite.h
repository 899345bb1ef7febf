#pragma once

#include <filesystem>
#include <vector>

namespace diffllama {

/// Every command that writes asks this first: throws InvalidArgument "OUTPUT: expected another path
/// than what is read, got INPUT" where `output` is one of the inputs, which writing would destroy.
/// The same is the same file or directory of the system, so links are seen through.
void refuse_overwriting(const std::filesystem::path& output,
                        const std::vector<std::filesystem::path>& inputs);

}  // namespace diffllama
