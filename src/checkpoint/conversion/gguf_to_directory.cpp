#include "checkpoint/conversion/gguf_to_directory.h"

#include <algorithm>
#include <map>
#include <memory>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/conversion/gguf_texts.h"
#include "checkpoint/conversion/merged_model.h"
#include "checkpoint/conversion/new_directory.h"
#include "checkpoint/directory_texts.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/safetensors/safetensors.h"
#include "config/model_config.h"
#include "config/names.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr DType kPlainTypes[] = {DType::float32, DType::float16, DType::bfloat16};

class DirectoryWriter {
 public:
  DirectoryWriter(const fs::path& in, const ConvertOptions& options)
      : options_(options),
        file_(in),
        model_(
            merge_model(Checkpoint::from_gguf(file_, options.warn), options.adapter, options.warn)),
        checkpoint_(model_.checkpoint) {
    for (const DType dtype : kPlainTypes) {
      const std::string key = kSourceTypePrefix + std::string(dtype_name(dtype));
      for (const std::string_view name : file_.texts(key)) source_types_[std::string(name)] = dtype;
    }
    texts_ = read_gguf_texts(file_, checkpoint_->config(), options.warn);
    add_tensors();
    add_config();
  }

  void write(const fs::path& directory) const {
    write_safetensors(directory / "model.safetensors", with_progress(tensors_, options_.progress));
    write_directory_texts(directory, texts_);
  }

 private:
  std::string where(const char* key) const { return file_.where() + ": " + key; }

  // A vector goes back to the type that it had before GGUF made it float32.
  DType written_type(const TensorSpec& spec, const TensorView& view) const {
    if (block_elements(view.dtype) > 1) return options_.expanded;
    const auto source = source_types_.find(spec.gguf_name);
    const bool widened = view.shape.size() == 1 && view.dtype == DType::float32;
    return widened && source != source_types_.end() ? source->second : view.dtype;
  }

  void add_tensors() {
    for (const TensorSpec& spec : tensor_specs(checkpoint_->config())) {
      const StoredTensor* stored = checkpoint_->find(spec.name);
      if (stored == nullptr) continue;
      const DType dtype = written_type(spec, stored->view);
      const auto source = source_types_.find(spec.gguf_name);
      exact_ = exact_ && source != source_types_.end() && source->second == dtype;
      tensors_.push_back(parameter_source(spec.name, checkpoint_, *stored, dtype));
    }
  }

  // The config that the file was made from, unless its weights have changed their type since.
  void add_config() {
    const DType dtype = tensors_.front().dtype;
    const auto text = file_.text(kConfigKey);
    if (!text || model_.other_head) {
      ModelConfig config = checkpoint_->config();
      config.dtype = dtype;
      texts_.config = write_model_config(config);
      return;
    }
    check_verbatim(*text);
    texts_.config = model_.config_text(std::string(*text), where(kConfigKey));
    if (exact_) return;
    json config = parse_json(texts_.config, where(kConfigKey));
    config.erase("torch_dtype");
    config["dtype"] = torch_dtype_name(dtype);
    texts_.config = config.dump(2) + "\n";
  }

  // A llama file is read by its keys; they may have been changed since.
  void check_verbatim(std::string_view text) const {
    const auto silent = [](const std::string&) {};
    const ModelConfig config = parse_model_config(text, where(kConfigKey), silent);
    const ModelConfig& keys = checkpoint_->config();
    const auto same = [](const TensorSpec& a, const TensorSpec& b) {
      return a.name == b.name && a.shape == b.shape && a.rotary_heads == b.rotary_heads;
    };
    if (config.model_type != keys.model_type ||
        !std::ranges::equal(tensor_specs(config), tensor_specs(keys), same)) {
      file_.refuse(kConfigKey, "the tensors that the file's keys promise", "others");
    }
  }

  const ConvertOptions& options_;
  GgufFile file_;
  MergedModel model_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::map<std::string, DType> source_types_;  // by GGUF's names
  std::vector<TensorSource> tensors_;
  DirectoryTexts texts_;
  bool exact_ = true;  // all tensors come out in the type that they had in the first directory
};

}  // namespace

void write_gguf_as_directory(const fs::path& in, const fs::path& out,
                             const ConvertOptions& options) {
  const DirectoryWriter writer(in, options);
  UnfinishedDirectory directory = new_directory(out);
  directory.fill([&](const fs::path& unfinished) { writer.write(unfinished); });
  directory.commit();
}

}  // namespace diffllama
