#include "model/load_weights.h"

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
                                    const WarningHandler& warn) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  try {
    return PackedFile(path, spec);
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

PackedFileSpec packed_copy_spec(const ModelConfig& config, const Parameters& parameters,
                                ProductType type, const std::vector<std::filesystem::path>& files) {
  PackedFileSpec spec;
  for (const PackedMatrixSpec& matrix : packed_matrices(config, parameters, type)) {
    spec.blocks.push_back({matrix.name + " " + panel_format_name(matrix.format) + " " +
                               std::to_string(matrix.n) + " x " + std::to_string(matrix.k),
                           PackedMatrix::bytes(matrix.format, matrix.n, matrix.k)});
  }
  spec.fingerprint = file_fingerprint(files);
  return spec;
}

ModelWeights load_weights(const ModelConfig& config, const Parameters& parameters,
                          ComputeType compute, const ModelFiles& files, const Parallel& parallel,
                          const WarningHandler& warn) {
  const ProductType type = product_type(compute, parameters);
  const std::filesystem::path path = packed_copy_path(files.model, type);
  const PackedFileSpec spec = packed_copy_spec(config, parameters, type, files.weights);
  if (const auto copy = open_copy(path, spec, warn)) {
    return pack_weights(config, parameters, compute, parallel, &*copy);
  }
  ModelWeights weights = pack_weights(config, parameters, compute, parallel);
  try {
    std::vector<std::span<const std::byte>> blocks;
    for (const PackedMatrix* matrix : packed_matrices(weights)) {
      blocks.emplace_back(matrix->panels(), matrix->bytes());
    }
    write_packed_file(path, spec, blocks);
  } catch (const Error& failure) {
    emit_warning(warn, std::string(failure.what()) + "; there is no packed copy");
  }
  return weights;
}

}  // namespace diffllama
