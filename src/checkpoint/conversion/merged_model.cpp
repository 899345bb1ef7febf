#include "checkpoint/conversion/merged_model.h"

#include <utility>
#include <vector>

#include "base/json.h"
#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/conversion/new_directory.h"
#include "checkpoint/directory_texts.h"
#include "checkpoint/fitting_tensor.h"
#include "checkpoint/safetensors/safetensors.h"
#include "config/model_config.h"

namespace diffllama {

namespace fs = std::filesystem;

std::string MergedModel::config_text(const std::string& text, const std::string& where) const {
  if (other_head) return write_model_config(checkpoint->config());
  if (!untied) return text;
  nlohmann::json config = parse_json(text, where);
  config["tie_word_embeddings"] = false;
  return config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

MergedModel merge_model(Checkpoint checkpoint, const fs::path& adapter,
                        const WarningHandler& warn) {
  const ModelConfig before = checkpoint.config();
  if (!adapter.empty()) checkpoint.merge(LoraAdapter::open(adapter, before, warn));
  MergedModel merged;
  merged.checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  const ModelConfig& config = merged.checkpoint->config();
  merged.untied = before.tie_word_embeddings && !config.tie_word_embeddings;
  merged.other_head = config.architecture != before.architecture ||
                      config.labels != before.labels || config.problem_type != before.problem_type;
  return merged;
}

TensorSource parameter_source(const std::string& name,
                              const std::shared_ptr<const Checkpoint>& checkpoint,
                              const StoredTensor& stored, DType dtype) {
  const TensorView& view = stored.view;
  if (dtype != view.dtype || view.shape.size() == 1 || stored.add_row) {
    return fitting_tensor(name, dtype, view.shape, stored.where,
                          [checkpoint, &stored](std::int64_t row, std::span<float> out) {
                            stored.read_row(row, out);
                          });
  }
  const auto write = [checkpoint, &stored](const TensorSource::Sink& sink) {
    for (std::int64_t row = 0; row < row_count(stored.view.shape); ++row)
      sink(stored.row_bytes(row));
    Checkpoint::release(stored);
  };
  return {name, dtype, view.shape, write};
}

void write_merged_directory(const fs::path& in, const fs::path& out,
                            const ConvertOptions& options) {
  const MergedModel model =
      merge_model(Checkpoint::open(in, options.warn), options.adapter, options.warn);
  std::vector<TensorSource> tensors;
  for (const TensorSpec& spec : tensor_specs(model.checkpoint->config())) {
    const StoredTensor* stored = model.checkpoint->find(spec.name);
    if (stored == nullptr) continue;
    tensors.push_back(parameter_source(spec.name, model.checkpoint, *stored, stored->view.dtype));
  }
  DirectoryTexts texts = read_directory_texts(in);
  texts.config = model.config_text(texts.config, (in / "config.json").string());
  UnfinishedDirectory directory = new_directory(out);
  directory.fill([&](const fs::path& unfinished) {
    write_safetensors(unfinished / "model.safetensors",
                      with_progress(std::move(tensors), options.progress));
    write_directory_texts(unfinished, texts);
  });
  directory.commit();
}

}  // namespace diffllama
