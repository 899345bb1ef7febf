#include "model/load_weights.h"

#include <cassert>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

std::optional<PackedFile> open_copy(const std::filesystem::path& path, const PackedFileSpec& spec,
                                    const Parallel& parallel, const WarningHandler& warn) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  try {
    return PackedFile(path, spec, parallel);
  } catch (const Error& refusal) {
    emit_warning(warn, std::string(refusal.what()) + "; it is made anew");
    return std::nullopt;
  }
}

}  // namespace

std::filesystem::path packed_copy_path(const std::filesystem::path& model, ProductType type) {
  std::error_code error;
  std::filesystem::path path =
      std::filesystem::is_directory(model, error) ? model / "model" : model;
  path += type == ProductType::float32 ? ".packed-float32" : ".packed-bfloat16";
  return path;
}

PackedFileSpec packed_copy_spec(const Checkpoint& checkpoint, const Parameters& parameters,
                                ProductType type) {
  PackedFileSpec spec;
  for (const PackedMatrixSpec& matrix : packed_matrices(checkpoint.config(), parameters, type)) {
    const StoredTensor* stored = checkpoint.find(matrix.name + ".weight");
    assert(stored != nullptr);
    // All that panels follow from beside the tensor's bytes.
    const std::string name =
        matrix.name + " " + panel_format_name(matrix.format) + " " + std::to_string(matrix.n) +
        " x " + std::to_string(matrix.k) + " of " + std::string(dtype_name(stored->view.dtype)) +
        (stored->interleaved_heads == 0
             ? ""
             : ", " + std::to_string(stored->interleaved_heads) + " interleaved heads");
    spec.push_back({.name = name,
                    .bytes = PackedMatrix::bytes(matrix.format, matrix.n, matrix.k),
                    .source = stored->view.bytes});
  }
  return spec;
}

ModelWeights load_weights(const ModelConfig& config, const Parameters& parameters,
                          ComputeType compute, const ModelFiles& files, const Parallel& parallel,
                          const WarningHandler& warn) {
  const ProductType type = product_type(compute, parameters);
  const std::filesystem::path path = packed_copy_path(files.model, type);
  const PackedFileSpec spec = packed_copy_spec(*files.checkpoint, parameters, type);
  if (const auto copy = open_copy(path, spec, parallel, warn)) {
    return pack_weights(config, parameters, compute, parallel, &*copy);
  }
  ModelWeights weights = pack_weights(config, parameters, compute, parallel);
  try {
    std::vector<std::span<const std::byte>> blocks;
    for (const PackedMatrix* matrix : packed_matrices(weights)) {
      blocks.emplace_back(matrix->panels(), matrix->bytes());
    }
    write_packed_file(path, spec, blocks, parallel);
  } catch (const Error& failure) {
    emit_warning(warn, std::string(failure.what()) + "; there is no packed copy");
  }
  return weights;
}

}  // namespace diffllama
