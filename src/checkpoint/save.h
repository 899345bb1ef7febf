#pragma once

#include <filesystem>
#include <vector>

#include "checkpoint/safetensors/safetensors.h"
#include "diffllama/config.h"

namespace diffllama {

/// Writes a Hugging Face directory that Checkpoint::open and transformers read: config.json and
/// model.safetensors, each atomically. The directory is made where it is absent. `tensors` are the
/// ones of tensor_specs(config), by name. Throws IoError.
void save_model_directory(const std::filesystem::path& directory, const ModelConfig& config,
                          std::vector<TensorSource> tensors);

}  // namespace diffllama
