#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/regular_file.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/tensor_files.h"
#include "config/model_config.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

ModelConfig read_directory_config(const std::filesystem::path& directory,
                                  const WarningHandler& warn) {
  const std::filesystem::path path = directory / "config.json";
  return parse_model_config(read_file(path), path.string(), warn);
}

TensorFiles gguf_tensors(const GgufFile& file) {
  TensorFiles files;
  files.where = file.where();
  files.mappings.push_back(file.mapping());
  for (const auto& [name, view] : file.tensors()) {
    files.tensors[name] = StoredTensor{view, file.tensor_where(name)};
  }
  // They are part of the configuration.
  for (const char* name :
       {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}) {
    files.tensors.erase(name);
  }
  return files;
}

void warn_of_extra(const TensorFiles& files, const WarningHandler& warn) {
  const std::size_t count = files.tensors.size() + files.unread.size();
  if (count == 0) return;
  std::string names;
  std::size_t listed = 0;
  const auto add = [&](const auto& map) {
    for (auto at = map.begin(); at != map.end() && listed < 20; ++at, ++listed) {
      names += (names.empty() ? "" : ", ") + json_excerpt(nlohmann::json(at->first));
    }
  };
  add(files.tensors);
  add(files.unread);
  if (listed < count) names += ", ... (" + std::to_string(count) + " in all)";
  emit_warning(warn, files.where + ": tensors that the model does not use: " + names);
}

// A tied model has one matrix for both ends. A stored lm_head that is the same is dropped; one that
// differs is used, as transformers does.
void resolve_tied_head(ModelConfig& config, std::map<std::string, StoredTensor>& tensors,
                       const std::string& where, const WarningHandler& warn) {
  if (config.architecture != Architecture::causal_lm || !config.tie_word_embeddings) return;
  const auto head = tensors.find("lm_head.weight");
  if (head == tensors.end()) return;
  const TensorView& embeddings =
      tensors.at(base_model_prefix(config.architecture) + "embed_tokens.weight").view;
  const TensorView& stored = head->second.view;
  if (stored.dtype == embeddings.dtype && std::ranges::equal(stored.bytes, embeddings.bytes)) {
    tensors.erase(head);
    return;
  }
  config.tie_word_embeddings = false;
  emit_warning(warn, where +
                         ": the config ties lm_head to the embeddings, but a different lm_head is "
                         "stored; the stored one is used");
}

}  // namespace

Checkpoint::Checkpoint(ModelConfig config, std::map<std::string, StoredTensor> tensors,
                       TensorFiles files, const WarningHandler& warn)
    : config_(std::move(config)), tensors_(std::move(tensors)), files_(std::move(files.mappings)) {
  warn_of_extra(files, warn);
  resolve_tied_head(config_, tensors_, files.where, warn);
}

Checkpoint Checkpoint::open(const std::filesystem::path& path, const WarningHandler& warn) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    throw IoError(path.string() +
                  ": expected a Hugging Face directory or a .gguf file, got nothing there");
  }
  if (!std::filesystem::is_directory(path, error)) return from_gguf(GgufFile(path), warn);
  ModelConfig config = read_directory_config(path, warn);
  TensorFiles files = open_directory_tensors(path);
  auto tensors = take_model_tensors(config, TensorNaming::transformers, files);
  return {std::move(config), std::move(tensors), std::move(files), warn};
}

Checkpoint Checkpoint::from_gguf(const GgufFile& file, const WarningHandler& warn) {
  ModelConfig config = read_gguf_config(file, warn);
  TensorFiles files = gguf_tensors(file);
  auto tensors = take_model_tensors(config, TensorNaming::gguf, files);
  return {std::move(config), std::move(tensors), std::move(files), warn};
}

const StoredTensor* Checkpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace diffllama
