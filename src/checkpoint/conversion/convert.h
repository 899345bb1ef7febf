#pragma once

#include <filesystem>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "diffllama/checkpoint.h"

namespace diffllama {

/// Throws InvalidArgument where `out` is the model, the adapter (empty: none), or a file of either.
void refuse_overwriting_model(const std::filesystem::path& out, const std::filesystem::path& in,
                              const std::filesystem::path& adapter);

/// The same tensors, which tell `progress` as they are written.
std::vector<TensorSource> with_progress(std::vector<TensorSource> tensors,
                                        const WriteProgress& progress);

}  // namespace diffllama
