#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors/safetensors.h"

namespace diffllama {

/// The tensors of a model's files as they lie there, by the names in the files.
struct TensorFiles {
  std::string where;  // the path that was opened, for messages
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, UnreadTensor> unread;  // of dtypes that no weight has
  std::vector<std::shared_ptr<const void>> mappings;
};

/// The weights of a Hugging Face directory: model.safetensors, or else the shards that
/// model.safetensors.index.json names, which may also name tensors that no shard holds. Throws
/// IoError, FormatError.
TensorFiles open_directory_tensors(const std::filesystem::path& directory);

/// Reads a model.safetensors.index.json: the tensors of each shard, by the shards' file names,
/// which lie beside it. Throws FormatError that starts with `where`.
std::map<std::string, std::vector<std::string>> parse_shard_index(std::string_view text,
                                                                  const std::string& where);

/// Whose names the files use.
enum class TensorNaming { transformers, gguf };

/// Takes the tensors of a model with this config out of `files`, by their names in
/// tensor_specs(config); what the model does not use stays there. A tied causal LM that stores its
/// one matrix as lm_head.weight alone has it as its embeddings. Throws one FormatError that names
/// all missing and mis-shaped tensors.
std::map<std::string, StoredTensor> take_model_tensors(const ModelConfig& config,
                                                       TensorNaming naming, TensorFiles& files);

}  // namespace diffllama
