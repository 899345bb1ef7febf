#include "checkpoint/save.h"

#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "config/model_config.h"
#include "diffllama/error.h"

namespace diffllama {

void save_model_directory(const std::filesystem::path& directory, const ModelConfig& config,
                          std::vector<TensorSource> tensors) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw IoError(directory.string() + ": cannot create: " + error.message());
  // The weights first: a config without them would promise a model that is not there.
  write_safetensors(directory / "model.safetensors", std::move(tensors));
  write_file_atomically(directory / "config.json", write_model_config(config));
}

}  // namespace diffllama
