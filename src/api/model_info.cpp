#include "diffllama/model_info.h"

#include <memory>
#include <system_error>
#include <utility>

#include "base/parallel.h"
#include "checkpoint/checkpoint.h"
#include "config/warnings.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "kernels/isa.h"
#include "model/kv_cache.h"
#include "model/load_weights.h"
#include "model/parameters.h"
#include "model/weights.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

// Scratch, tokenizer and program.
constexpr std::int64_t kOtherMemory = std::int64_t{128} << 20;

void add(ModelInfo::Storage& storage, std::int64_t parameters, std::int64_t bytes) {
  ++storage.tensors;
  storage.parameters += parameters;
  storage.bytes += bytes;
}

std::vector<ModelInfo::PackedCopy> find_packed_copies(const fs::path& model,
                                                      const Checkpoint& checkpoint,
                                                      const Parameters& parameters,
                                                      const WarningHandler& warn) {
  std::vector<ModelInfo::PackedCopy> found;
  for (const ProductType type : {ProductType::float32, ProductType::bfloat16}) {
    ModelInfo::PackedCopy copy = {.path = packed_copy_path(model, type)};
    std::error_code error;
    if (!fs::is_regular_file(copy.path, error)) continue;
    copy.bytes = static_cast<std::int64_t>(fs::file_size(copy.path, error));
    try {
      const PackedFile opened(copy.path, packed_copy_spec(checkpoint, parameters, type),
                              Parallel());
      copy.usable = true;
    } catch (const Error& refusal) {
      emit_warning(warn, refusal.what());
    }
    found.push_back(std::move(copy));
  }
  return found;
}

}  // namespace

ModelInfo model_info(const fs::path& path, CacheType cache_type, const WarningHandler& warn) {
  ModelInfo info;
  info.path = find_model(path);
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(info.path, warn));
  info.config = checkpoint->config();
  for (const TensorSpec& spec : tensor_specs(info.config)) {
    const StoredTensor* stored = checkpoint->find(spec.name);
    if (stored == nullptr) continue;
    const std::int64_t count = element_count(spec.shape);
    const auto bytes = static_cast<std::int64_t>(stored->view.bytes.size());
    add(info.storage, count, bytes);
    add(info.storage_by_dtype[stored->view.dtype], count, bytes);
  }
  const Parameters parameters = stored_parameters(checkpoint);
  const ProductType products = product_type(ComputeType::automatic, parameters);
  info.compute = compute_type(products);
  info.packed_copies = find_packed_copies(info.path, *checkpoint, parameters, warn);
  info.cache_type = cache_type_for(cache_type, products);
  info.isa = isa_name(active_isa());
  const CacheLayout cache(AttentionGeometry::of(info.config), info.config.num_hidden_layers,
                          info.cache_type);
  const std::int64_t blocks =
      (info.config.max_position_embeddings + kCacheBlockKeys - 1) / kCacheBlockKeys;
  info.cache_bytes_per_token = static_cast<std::int64_t>(cache.bytes_per_key());
  info.cache_bytes = blocks * static_cast<std::int64_t>(cache.block);
  info.peak_memory_bytes = info.storage.bytes + info.cache_bytes + kOtherMemory;
  return info;
}

}  // namespace diffllama
