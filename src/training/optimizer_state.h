#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "training/optimizer.h"
#include "training/parameter_layout.h"

namespace diffllama {

/// The file of a checkpoint that holds it.
inline constexpr const char* kOptimizerFile = "optimizer.safetensors";

/// The optimizer's state by parameter name: exp_avg.NAME and exp_avg_sq.NAME, and, unless `values`
/// is empty, the float32 values as master.NAME. Borrows all of them.
std::vector<TensorSource> optimizer_tensors(const ParameterLayout& layout, AdamW& optimizer,
                                            std::span<const float> values);

/// Takes state and values back from a checkpoint: master.NAME, or, where there is none, the float32
/// parameters of its model.safetensors. Throws IoError, FormatError naming the first tensor that is
/// missing or of another shape, and those that no parameter takes: the checkpoint is of another
/// model.
void load_optimizer(const std::filesystem::path& checkpoint, const ParameterLayout& layout,
                    AdamW& optimizer, std::span<float> values);

}  // namespace diffllama
