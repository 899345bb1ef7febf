#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "checkpoint/adapter/lora_config.h"
#include "checkpoint/tensor_source.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "model/diffllama_model.h"
#include "model/parameters.h"
#include "model/weights.h"
#include "training/backward/model_backward.h"
#include "training/parameter_layout.h"

namespace diffllama {

/// A model whose parameters change: float32 values in one flat array, gradients in another of the
/// same layout, and the packed weights that the products read, made again after each change.
class TrainingModel {
 public:
  struct Options {
    /// Products in float32, or of bfloat16 values summed in float32. automatic: float32.
    ComputeType compute = ComputeType::automatic;
    int threads = 0;  // 0: one per core; never changes a result
    /// Trains an adapter and what it saves whole, in place of every parameter.
    std::optional<LoraConfig> lora = std::nullopt;
    std::uint64_t lora_seed = 0;  // of the adapter's first values
    /// The parameters that are trained, where not all are; unused with an adapter.
    std::optional<std::set<std::string>> trained = std::nullopt;
  };

  /// `parameters`: initial_parameters() or stored_parameters() of a model with this config. The
  /// values of those that are trained are copied; the others are read where they are.
  TrainingModel(ModelConfig config, Parameters parameters, const Options& options);
  TrainingModel(const TrainingModel&) = delete;
  TrainingModel& operator=(const TrainingModel&) = delete;

  const ModelConfig& config() const { return config_; }
  const Parallel& parallel() const { return parallel_; }
  /// What is trained, and where it lies in values() and gradients(); an adapter's matrices by
  /// LoraTarget's names.
  const ParameterLayout& layout() const { return layout_; }
  std::span<float> values() { return {values_.get(), size()}; }
  std::span<float> gradients();
  void zero_gradients() { gradient_map_.clear(); }
  /// After values() changed: packs the weights again.
  void update();
  /// What DEX's lambdas are multiplied with from now on, in forward and gradients; 1 at first.
  void set_dex_scale(float scale);

  /// Adds to gradients() (training/backward/model_backward.h). Here and in forward() a packed
  /// sequence is an example of the head's.
  GradientResult add_gradients(const ForwardInputs& inputs, const GradientOptions& options);
  /// In evaluation mode, with the weights of the last update().
  ForwardOutput forward(const ForwardInputs& inputs) const;
  /// Every parameter of the model by its transformers name; those that are trained are float32 and
  /// read values() when asked. An adapter is not merged.
  const Parameters& parameters() const { return parameters_; }
  /// What is trained, as tensors named as in layout(), of the values when they are written.
  std::vector<TensorSource> trained_tensors() const;

 private:
  void add_trained(const ParameterSlot& slot, const Parameter& initial);
  void attach_adapter();
  void scale_dex();
  std::size_t size() const { return static_cast<std::size_t>(layout_.size()); }

  ModelConfig config_;
  Parallel parallel_;
  ComputeType compute_;
  std::optional<LoraConfig> lora_;
  std::map<std::string, LoraModule> modules_;  // by path
  ParameterLayout layout_;
  std::shared_ptr<float> values_, gradients_;
  Parameters parameters_;
  GradientMap gradient_map_;
  PanelMemory panel_memory_;  // of weights_
  ModelWeights weights_;
  std::unique_ptr<const DiffLlamaModel> stack_;
  GradientScratch scratch_;
  float dex_scale_ = 1;
};

}  // namespace diffllama
