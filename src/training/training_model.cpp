#include "training/training_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/large_block.h"
#include "checkpoint/adapter/lora_layout.h"
#include "checkpoint/checkpoint.h"
#include "model/adapters.h"
#include "model/forward.h"
#include "model/row_tasks.h"

namespace diffllama {
namespace {

constexpr std::int64_t kPrefillChunk = 512;  // of evaluation

std::shared_ptr<float> zeroed_floats(std::int64_t count) {
  const std::shared_ptr<std::byte> block =
      allocate_large_block(static_cast<std::size_t>(count) * sizeof(float));
  std::shared_ptr<float> floats(block, reinterpret_cast<float*>(block.get()));
  std::fill_n(floats.get(), count, 0.0F);
  return floats;
}

// The model's parameters in the table's order; a tied lm_head that is stored all the same counts.
// Those of `trained` alone where it is there.
std::vector<TensorSpec> specs_of(const ModelConfig& config, const Parameters& parameters,
                                 const std::optional<std::set<std::string>>& trained) {
  std::vector<TensorSpec> specs = tensor_specs(config);
  std::erase_if(specs, [&](const TensorSpec& spec) {
    return !parameters.contains(spec.name) || (trained && !trained->contains(spec.name));
  });
  return specs;
}

}  // namespace

TrainingModel::TrainingModel(ModelConfig config, Parameters parameters, const Options& options)
    : config_(std::move(config)),
      parallel_(options.threads),
      compute_(options.compute == ComputeType::automatic ? ComputeType::float32 : options.compute),
      lora_(options.lora),
      layout_(lora_ ? lora_layout(*lora_, config_).tensors()
                    : specs_of(config_, parameters, options.trained)),
      values_(zeroed_floats(layout_.size())),
      gradients_(zeroed_floats(layout_.size())),
      parameters_(std::move(parameters)),
      gradient_map_(parallel_) {
  Parameters initial = parameters_;
  if (lora_)
    initial.merge(initial_lora_parameters(lora_layout(*lora_, config_), options.lora_seed));
  for (const ParameterSlot& slot : layout_.slots()) add_trained(slot, initial.at(slot.name));
  if (lora_) attach_adapter();
  update();
  stack_ = std::make_unique<DiffLlamaModel>(config_, weights_, kPrefillChunk);
}

// Copies the first values of a parameter to its place, which stands for it from then on.
void TrainingModel::add_trained(const ParameterSlot& slot, const Parameter& initial) {
  float* values = values_.get() + slot.offset;
  const std::int64_t columns = initial.columns();
  for_each_row(initial.rows(), parallel_, [&](std::int64_t row) {
    initial.read_row(row, {values + row * columns, static_cast<std::size_t>(columns)});
  });
  initial.release();
  gradient_map_.add(slot.name,
                    {gradients_.get() + slot.offset, static_cast<std::size_t>(slot.size)});
  const auto found = parameters_.find(slot.name);
  if (found == parameters_.end()) return;  // an adapter's matrix
  found->second = {.dtype = DType::float32,
                   .shape = slot.shape,
                   .read_row =
                       [block = values_, values, columns](std::int64_t row, std::span<float> out) {
                         std::copy_n(values + row * columns, columns, out.begin());
                       },
                   .values = values};
}

void TrainingModel::attach_adapter() {
  for (const LoraTarget& target : lora_layout(*lora_, config_).targets) {
    const auto matrix = [&](const std::string& name) {
      const ParameterSlot& slot = *layout_.find(name);
      return std::span<const float>(values_.get() + slot.offset,
                                    static_cast<std::size_t>(slot.size));
    };
    modules_[target.module] = {.module = target.module,
                               .matrices = {.out = target.out,
                                            .in = target.in,
                                            .rank = target.rank,
                                            .a = matrix(target.a_name()),
                                            .b = matrix(target.b_name()),
                                            .scaling = target.scaling},
                               .stream = modules_.size()};
  }
}

std::span<float> TrainingModel::gradients() {
  gradient_map_.complete();
  return {gradients_.get(), size()};
}

void TrainingModel::update() {
  // An adapter's matrices are read where they are: without a parameter of the model among what is
  // trained, packed weights stay as they are.
  const bool changes = std::ranges::any_of(
      layout_.slots(), [&](const ParameterSlot& slot) { return parameters_.contains(slot.name); });
  if (!changes && !weights_.layers.empty()) return;
  weights_ = {};
  panel_memory_.reuse();
  weights_ = pack_weights(config_, parameters_, compute_, parallel_, nullptr, panel_memory_);
  attach_lora(config_, modules_, weights_);
  scale_dex();
}

void TrainingModel::set_dex_scale(float scale) {
  if (scale == dex_scale_) return;
  dex_scale_ = scale;
  scale_dex();
}

void TrainingModel::scale_dex() {
  for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    std::vector<float>& lambda = weights_.layers[layer].dex.lambda;
    if (lambda.empty()) continue;
    const Tensor values = parameters_
                              .at(base_model_prefix(config_.architecture) + "layers." +
                                  std::to_string(layer) + ".self_attn.dex_lambda")
                              .read();
    for (std::size_t i = 0; i < lambda.size(); ++i) lambda[i] = dex_scale_ * values.f32()[i];
  }
}

std::vector<TensorSource> TrainingModel::trained_tensors() const {
  std::vector<TensorSource> tensors;
  for (const ParameterSlot& slot : layout_.slots()) {
    const float* values = values_.get() + slot.offset;
    tensors.push_back(
        rounded_tensor(slot.name, DType::float32, slot.shape,
                       [block = values_, values](std::int64_t row, std::span<float> out) {
                         const auto columns = static_cast<std::int64_t>(out.size());
                         std::copy_n(values + row * columns, columns, out.begin());
                       }));
  }
  return tensors;
}

GradientResult TrainingModel::add_gradients(const ForwardInputs& inputs,
                                            const GradientOptions& options) {
  return diffllama::add_gradients({.config = config_,
                                   .weights = weights_,
                                   .stack = *stack_,
                                   .parameters = parameters_,
                                   .lora_dropout = lora_ ? lora_->dropout : 0.0,
                                   .dex_scale = dex_scale_,
                                   .examples = HeadExamples::sequences},
                                  inputs, options, gradient_map_, scratch_, parallel_);
}

ForwardOutput TrainingModel::forward(const ForwardInputs& inputs) const {
  return run_forward({.config = config_,
                      .weights = weights_,
                      .stack = *stack_,
                      .examples = HeadExamples::sequences},
                     inputs, nullptr, parallel_);
}

}  // namespace diffllama
