#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/conversion/convert.h"
#include "checkpoint/tensor_source.h"

namespace diffllama {

/// An opened model, with an adapter merged into it where one is given.
struct MergedModel {
  std::shared_ptr<const Checkpoint> checkpoint;
  bool untied = false;      // the adapter made an lm_head of its own for a tied model
  bool other_head = false;  // the adapter brought the head, or its labels

  /// The text of the model's config.json, which says so: `text` with what the adapter changed.
  std::string config_text(const std::string& text, const std::string& where) const;
};

/// Throws IoError, FormatError, ConfigError of LoraAdapter::open; `adapter` may be empty.
MergedModel merge_model(Checkpoint checkpoint, const std::filesystem::path& adapter,
                        const WarningHandler& warn);

/// One of the checkpoint's tensors as a safetensors file is to hold it: its bytes where `dtype` is
/// its own and nothing is merged into it.
TensorSource parameter_source(const std::string& name,
                              const std::shared_ptr<const Checkpoint>& checkpoint,
                              const StoredTensor& stored, DType dtype);

/// convert_model from a Hugging Face directory to another.
void write_merged_directory(const std::filesystem::path& in, const std::filesystem::path& out,
                            const ConvertOptions& options);

}  // namespace diffllama
