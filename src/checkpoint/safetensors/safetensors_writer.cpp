#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/safetensors/safetensors_dtype.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// Place in kSafetensorsDTypes, which is the order in the file.
std::size_t dtype_rank(const TensorSource& tensor) {
  const auto* const found =
      std::ranges::find(kSafetensorsDTypes, tensor.dtype, &SafetensorsDType::dtype);
  if (found == kSafetensorsDTypes.end()) {
    throw InvalidArgument("[write_safetensors] tensor " + tensor.name + ": expected a dtype of " +
                          safetensors_dtype_list() + ", got " +
                          std::string(dtype_name(tensor.dtype)));
  }
  return static_cast<std::size_t>(found - kSafetensorsDTypes.begin());
}

std::string header_text(const std::vector<TensorSource>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t position = 0;
  for (const TensorSource& tensor : tensors) {
    const std::uint64_t end = position + byte_count(tensor);
    header += ',';
    header += nlohmann::json(tensor.name).dump();
    header += R"(:{"dtype":")";
    header += kSafetensorsDTypes[dtype_rank(tensor)].name;
    header += R"(","shape":)";
    header += nlohmann::json(tensor.shape).dump();
    header += R"(,"data_offsets":)";
    header += nlohmann::json({position, end}).dump();
    header += '}';
    position = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::vector<TensorSource> tensors) {
  std::ranges::sort(tensors, {}, [](const TensorSource& tensor) {
    return std::pair<std::size_t, const std::string&>(dtype_rank(tensor), tensor.name);
  });
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorSource& tensor : tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end() || std::ranges::binary_search(names, "__metadata__")) {
    throw InvalidArgument(
        "[write_safetensors] expected each name once and none __metadata__, got " +
        std::string(twice != names.end() ? *twice : "__metadata__"));
  }

  AtomicFile file(path);
  const std::string header = header_text(tensors);
  const std::uint64_t header_bytes = header.size();
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (const TensorSource& tensor : tensors) {
    write_tensor(tensor, [&](std::span<const std::byte> bytes) { file.write(bytes); });
  }
  file.commit();
}

}  // namespace diffllama
