#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"

namespace [[gnu::visibility("default")]] diffllama {

/// What a model is and what it would take here, without its weights being loaded.
struct ModelInfo {
  /// Tensors as they are stored.
  struct Storage {
    std::int64_t tensors = 0, parameters = 0, bytes = 0;
  };
  /// A file of packed weights beside the model (LoadOptions::packed_copy).
  struct PackedCopy {
    std::filesystem::path path;
    std::int64_t bytes = 0;
    bool usable = false;  // made of these very files; else it is made anew when used
  };

  std::filesystem::path path;
  ModelConfig config;
  Storage storage;
  std::map<DType, Storage> storage_by_dtype;
  ComputeType compute = ComputeType::float32;  // what ComputeType::automatic comes to
  CacheType cache_type = CacheType::f32;       // what the one that was asked for comes to
  std::string isa;                             // the kernels that would run here: "avx2", ...
  std::int64_t cache_bytes_per_token = 0;      // keys and values
  std::int64_t cache_bytes = 0;                // of max_position_embeddings tokens, in whole blocks
  /// At most, for one such sequence: weights as they are stored, its cache, and what scratch,
  /// tokenizer and program need.
  std::int64_t peak_memory_bytes = 0;
  std::vector<PackedCopy> packed_copies;
};

/// Of a Hugging Face directory or a .gguf file. Throws IoError, FormatError, ConfigError, as
/// Model::from_pretrained does.
ModelInfo model_info(const std::filesystem::path& path, CacheType cache_type = CacheType::automatic,
                     const WarningHandler& warn = {});

}  // namespace diffllama
