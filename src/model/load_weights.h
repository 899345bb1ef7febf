#pragma once

#include <filesystem>
#include <memory>

#include "diffllama/config.h"
#include "model/weights.h"

namespace diffllama {

/// Where a model is stored.
struct ModelFiles {
  std::filesystem::path model;  // the file or directory
  std::shared_ptr<const Checkpoint> checkpoint;
};

/// Where the packed copy of a model lies: "MODEL.gguf.packed-bfloat16" beside a file,
/// "DIRECTORY/model.packed-float32" in a directory, after the type that products are computed in.
std::filesystem::path packed_copy_path(const std::filesystem::path& model, ProductType type);

/// What it must be; its sources lie in the checkpoint, which must outlive it. Panels are the same
/// for every ISA.
PackedFileSpec packed_copy_spec(const Checkpoint& checkpoint, const Parameters& parameters,
                                ProductType type);

/// pack_weights by way of the packed copy beside the model (checkpoint/packed_file.h). A copy that
/// is missing is written; one that cannot be used is made anew, with a warning that says why; where
/// it cannot be written there is a warning only.
ModelWeights load_weights(const ModelConfig& config, const Parameters& parameters,
                          ComputeType compute, const ModelFiles& files, const Parallel& parallel,
                          const WarningHandler& warn);

}  // namespace diffllama
