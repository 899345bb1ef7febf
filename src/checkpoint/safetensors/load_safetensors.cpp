#include <utility>
#include <vector>

#include "base/text.h"
#include "checkpoint/safetensors/safetensors.h"
#include "diffllama/error.h"
#include "diffllama/safetensors.h"

namespace diffllama {

std::map<std::string, Tensor> load_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  for (const auto& [name, unread] : file.unread()) {
    throw FormatError(path.string() + ": " + shortened(name) +
                      ": expected a dtype that is read here, got " + unread.dtype);
  }
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, view] : file.tensors()) {
    tensors[name] = is_aligned(view) ? Tensor::borrow(view, file.mapping()) : Tensor::from(view);
  }
  return tensors;
}

void save_safetensors(const std::filesystem::path& path,
                      const std::map<std::string, TensorView>& tensors) {
  std::vector<TensorSource> sources;
  sources.reserve(tensors.size());
  for (const auto& [name, view] : tensors) sources.push_back(copied_tensor(name, view));
  write_safetensors(path, std::move(sources));
}

}  // namespace diffllama
