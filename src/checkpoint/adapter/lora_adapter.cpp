#include "checkpoint/adapter/lora_adapter.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/adapter/adapter_head.h"
#include "checkpoint/codec/row_codec.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/tensor_problems.h"
#include "config/model_config.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kBaseLayer = ".base_layer.";
constexpr int kListedNames = 20;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

void check_files(const fs::path& directory) {
  if (!is_there(directory / kAdapterConfigFile)) {
    throw IoError(directory.string() + ": expected a PEFT adapter, a directory with " +
                  kAdapterConfigFile + ", got " +
                  (is_there(directory) ? "none in it" : "nothing there"));
  }
  if (!is_there(directory / kAdapterWeightsFile)) {
    const bool pickled = is_there(directory / "adapter_model.bin");
    throw IoError(directory.string() + ": expected " + kAdapterWeightsFile + ", got " +
                  (pickled ? "adapter_model.bin, which PEFT's save_pretrained converts" : "none"));
  }
}

LoraConfig read_config(const fs::path& path, const WarningHandler& warn) {
  return parse_lora_config(read_file(path), path.string(), warn);
}

// PEFT's names are longer than what json_excerpt shows.
std::string quoted(const std::string& name) {
  using nlohmann::json;
  std::string text = json(name).dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 200) text = text.substr(0, 197) + "...";
  return text;
}

std::string peft_name(const std::string& name) { return std::string(kPrefix) + name; }

}  // namespace

void LoraMatrices::add_row(std::int64_t row, std::span<float> values) const {
  std::vector<float> sums(values.size());
  for (std::int64_t i = 0; i < rank; ++i) {
    const float factor = b[static_cast<std::size_t>(row * rank + i)];
    const std::span<const float> from =
        a.subspan(static_cast<std::size_t>(i * in), static_cast<std::size_t>(in));
    for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += factor * from[j];
  }
  for (std::size_t j = 0; j < sums.size(); ++j) values[j] += scaling * sums[j];
}

class LoraAdapterReader {
 public:
  LoraAdapterReader(const fs::path& directory, const ModelConfig& model, const WarningHandler& warn)
      : where_((directory / kAdapterWeightsFile).string()) {
    check_files(directory);
    adapter_.reset(new LoraAdapter());
    adapter_->config_ = read_config(directory / kAdapterConfigFile, warn);
    adapter_->model_ = config_with_adapter(directory, model, warn);
    adapter_->layout_ =
        lora_layout(adapter_->config_, adapter_->model_, (directory / kAdapterConfigFile).string());
    const SafetensorsFile file(directory / kAdapterWeightsFile);
    tensors_ = file.tensors();
    adapter_->mapping_ = file.mapping();
  }

  std::shared_ptr<const LoraAdapter> read() {
    const LoraLayout& layout = adapter_->layout_;
    std::map<std::string, TensorView> found;
    for (const TensorSpec& spec : layout.tensors()) {
      if (const auto view = take(peft_name(spec.name), spec)) {
        found[spec.name] = *view;
      } else {
        problems_.add_missing({.name = peft_name(spec.name), .gguf_name = "", .shape = spec.shape});
      }
    }
    for (const TensorSpec& spec : layout.saved) save(spec, found);
    take_others();
    refuse_the_rest();
    problems_.raise(where_, "the tensors that adapter_config.json promises");
    for (const LoraTarget& target : layout.targets) {
      adapter_->modules_[target.module] = {.out = target.out,
                                           .in = target.in,
                                           .rank = target.rank,
                                           .a = values(found.at(target.a_name())),
                                           .b = values(found.at(target.b_name())),
                                           .scaling = target.scaling};
    }
    return std::move(adapter_);
  }

 private:
  std::optional<TensorView> take(const std::string& name, const TensorSpec& spec) {
    const auto at = tensors_.find(name);
    if (at == tensors_.end()) return std::nullopt;
    problems_.check({.name = name, .gguf_name = "", .shape = spec.shape}, at->second);
    const TensorView view = std::move(at->second);
    tensors_.erase(at);
    return view;
  }

  void save(const TensorSpec& spec, const std::map<std::string, TensorView>& found) {
    if (const auto at = found.find(spec.name); at != found.end()) {
      adapter_->saved_[spec.name] = {at->second, where_ + ": tensor " + peft_name(spec.name)};
    }
  }

  // PEFT stores embeddings whole where the vocabulary was resized or lm_head is a target: then the
  // latter as the base layer of its adapter.
  void take_others() {
    std::set<std::string> targeted;
    for (const LoraTarget& target : adapter_->layout_.targets) targeted.insert(target.module);
    for (const TensorSpec& spec : tensor_specs(adapter_->model_)) {
      const std::size_t dot = spec.name.rfind('.');
      std::string name = spec.name;
      if (targeted.contains(name.substr(0, dot))) name.replace(dot, 1, kBaseLayer);
      if (const auto view = take(peft_name(name), spec)) {
        adapter_->saved_[spec.name] = {*view, where_ + ": tensor " + peft_name(name)};
      }
    }
  }

  void refuse_the_rest() {
    int listed = 0;
    for (const auto& [name, view] : tensors_) {
      if (++listed > kListedNames) {
        problems_.add_unexpected("... (" + std::to_string(tensors_.size()) + " in all)");
        return;
      }
      problems_.add_unexpected(quoted(name));
    }
  }

  std::span<const float> values(const TensorView& view) {
    Tensor tensor(DType::float32, view.shape);
    decode_row(view.dtype, view.bytes, tensor.f32());
    adapter_->values_.push_back(std::move(tensor));
    return adapter_->values_.back().f32();
  }

  std::string where_;
  std::shared_ptr<LoraAdapter> adapter_;
  std::map<std::string, TensorView> tensors_;  // not taken yet, by the names in the file
  TensorProblems problems_;
};

std::shared_ptr<const LoraAdapter> LoraAdapter::open(const fs::path& directory,
                                                     const ModelConfig& model,
                                                     const WarningHandler& warn) {
  return LoraAdapterReader(directory, model, warn).read();
}

void save_lora_adapter(const fs::path& directory, const LoraConfig& config,
                       const ModelConfig& model, std::vector<TensorSource> tensors) {
  const auto refuse = [](const std::string& expected, const std::string& found) {
    throw InvalidArgument("[save_lora_adapter] expected " + expected + ", got " + found);
  };
  const LoraConfig complete = with_trained_head(config, model.architecture);
  if (complete.modules_to_save != config.modules_to_save) {
    refuse("modules_to_save with the model's head (with_trained_head)", "one without");
  }
  std::map<std::string, Shape> shapes;
  for (TensorSpec& spec : lora_layout(config, model).tensors()) {
    shapes[spec.name] = std::move(spec.shape);
  }
  for (TensorSource& tensor : tensors) {
    const auto spec = shapes.find(tensor.name);
    if (spec == shapes.end()) refuse("the adapter's tensors", tensor.name);
    if (spec->second != tensor.shape) {
      refuse(tensor.name + " as " + to_string(spec->second), to_string(tensor.shape));
    }
    shapes.erase(spec);
    tensor.name = peft_name(tensor.name);
  }
  if (!shapes.empty()) refuse("a tensor " + shapes.begin()->first, "none");
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw IoError(directory.string() + ": cannot create: " + error.message());
  write_safetensors(directory / kAdapterWeightsFile, std::move(tensors));
  write_file_atomically(directory / kAdapterModelConfig, write_model_config(model));
  write_file_atomically(directory / kAdapterConfigFile,
                        write_lora_config(config, model.architecture));
}

}  // namespace diffllama
