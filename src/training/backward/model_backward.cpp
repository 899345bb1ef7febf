#include "training/backward/model_backward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/elementwise.h"
#include "kernels/gradients.h"
#include "model/forward.h"
#include "model/row_tasks.h"

namespace diffllama {
namespace {

// The look-up adds each token's gradient to its row, ascending, none to the padding row (torch's
// padding_idx). Threads share the columns.
void embedding_backward(const ModelConfig& config, std::span<const std::int64_t> ids,
                        const float* dx, float* d_embeddings, const Parallel& parallel) {
  constexpr std::int64_t kColumns = 128;
  const std::int64_t width = config.hidden_size;
  parallel.run((width + kColumns - 1) / kColumns, [&](std::int64_t task, int) {
    const std::int64_t first = task * kColumns;
    const std::int64_t count = std::min(kColumns, width - first);
    for (std::size_t row = 0; row < ids.size(); ++row) {
      if (config.pad_token_id && ids[row] == *config.pad_token_id) continue;
      add_to(d_embeddings + ids[row] * width + first,
             dx + static_cast<std::int64_t>(row) * width + first, count);
    }
  });
}

LayerWatch watch(const AttentionDescriptor& attention, const LayerWeights& weights,
                 const LayerActivations& activations, std::int64_t tokens, const float* output,
                 std::int64_t width) {
  LayerWatch seen;
  seen.finite = std::isfinite(sum_of_squares(output, tokens * width));
  const std::int64_t count = tokens * attention.geometry.output_heads();
  double sum = 0;
  if (attention.lambda == LambdaRule::sigmoid) {  // the mean of all tokens and heads
    for (std::int64_t i = 0; i < count; ++i) sum += double{activations.lambdas.data()[i]};
    seen.lambda = static_cast<float>(sum / static_cast<double>(count));
    sum = 0;
  } else if (attention.lambda == LambdaRule::exponential) {
    seen.lambda = weights.differential.lambda;
  }
  if (attention.norm == HeadNorm::none) return seen;
  double smallest = std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < count; ++i) {
    const double rms = 1.0 / double{activations.reciprocal_rms.data()[i]};
    sum += rms;
    smallest = std::min(smallest, rms);
  }
  seen.rms = static_cast<float>(sum / static_cast<double>(count));
  seen.smallest_rms = static_cast<float>(smallest);
  return seen;
}

std::optional<LoraDropout> dropout_of(const GradientModel& model, const GradientOptions& options) {
  if (!options.dropout_seed || model.lora_dropout <= 0) return std::nullopt;
  return LoraDropout{.seed = *options.dropout_seed, .probability = model.lora_dropout};
}

class ModelBackward {
 public:
  ModelBackward(const GradientModel& model, const ForwardInputs& inputs,
                const GradientOptions& options, GradientMap& gradients, GradientScratch& scratch,
                const Parallel& parallel)
      : model_(model),
        inputs_(inputs),
        options_(options),
        gradients_(gradients),
        scratch_(scratch),
        parallel_(parallel),
        linear_(model.parameters, gradients, model.weights.product_type, dropout_of(model, options),
                scratch.linear, parallel),
        pass_({.config = model.config,
               .weights = model.weights,
               .stack = model.stack,
               .examples = model.examples},
              inputs, nullptr),
        rows_(pass_.batch().batch * pass_.batch().tokens),
        width_(model.config.hidden_size),
        prefix_(base_model_prefix(model.config.architecture)) {}

  GradientResult run() {
    const LossCount own = count_labels(model_.config, inputs_, pass_.batch());
    const LossCount denominator = options_.denominator.value_or(own);
    const bool counts = own.first != 0 || own.second != 0;
    GradientResult result;
    if (counts || options_.output != nullptr) forward();
    if (!counts) {
      result.loss = std::numeric_limits<double>::quiet_NaN();
      return result;
    }
    float* dx = scratch_.dx.reserve(static_cast<std::size_t>(rows_ * width_));
    result.loss = head_backward({.config = model_.config,
                                 .weights = model_.weights,
                                 .inputs = inputs_,
                                 .batch = pass_.batch(),
                                 .last_hidden_state = scratch_.tape.normed.data(),
                                 .denominator = denominator,
                                 .dropout_seed = options_.dropout_seed},
                                linear_, dx, scratch_.head, parallel_);
    final_norm_backward(dx);
    layers_backward(dx, result);
    float* d_embeddings = gradients_.find(prefix_ + "embed_tokens.weight");
    if (d_embeddings != nullptr && inputs_.input_ids) {
      embedding_backward(model_.config, inputs_.input_ids->i64(), dx, d_embeddings, parallel_);
    }
    return result;
  }

 private:
  void forward();
  void final_norm_backward(float* dx);
  void layers_backward(float* dx, GradientResult& result);

  const GradientModel& model_;
  const ForwardInputs& inputs_;
  const GradientOptions& options_;
  GradientMap& gradients_;
  GradientScratch& scratch_;
  const Parallel& parallel_;
  LinearBackward linear_;
  ForwardPass pass_;
  std::int64_t rows_, width_;
  std::string prefix_;
};

void ModelBackward::forward() {
  scratch_.tape.lora_dropout = linear_.dropout();
  scratch_.tape.inputs_only = options_.recompute_activations;
  if (options_.output != nullptr) pass_.allocate_outputs();
  model_.stack.record(pass_.steps(), scratch_.forward, scratch_.tape, parallel_);
  if (options_.output != nullptr) *options_.output = pass_.apply_head(parallel_);
}

void ModelBackward::final_norm_backward(float* dx) {
  // Its own gradient goes in place of the one that comes in: from a copy, since dx is added to.
  float* dy = scratch_.tape.normed.data();  // no longer needed
  std::copy_n(dx, rows_ * width_, dy);
  std::fill_n(dx, rows_ * width_, 0.0F);
  rms_norm_rows_backward(scratch_.tape.last.data(), model_.weights.norm.data(),
                         static_cast<float>(model_.config.rms_norm_eps), {dy, rows_, width_}, dx,
                         gradients_.find(prefix_ + "norm.weight"), scratch_.reciprocal_rms,
                         parallel_);
}

void ModelBackward::layers_backward(float* dx, GradientResult& result) {
  const std::int64_t layers = model_.config.num_hidden_layers;
  result.layers.resize(static_cast<std::size_t>(layers));
  const bool again = options_.recompute_activations;
  if (again) model_.stack.rewind(scratch_.tape, scratch_.forward);
  const float* output = scratch_.tape.last.data();
  for (std::int64_t layer = layers - 1; layer >= 0; --layer) {
    const auto at = static_cast<std::size_t>(layer);
    LayerActivations& kept = scratch_.tape.layers[at];
    if (again) std::swap(kept.input, scratch_.replayed.input);
    LayerActivations& activations = again ? scratch_.replayed : kept;
    if (again) model_.stack.replay(layer, scratch_.tape, scratch_.forward, activations, parallel_);
    const LayerWeights& weights = model_.weights.layers[at];
    result.layers[at] =
        watch(model_.stack.attention(), weights, activations, rows_, output, width_);
    decoder_layer_backward({.config = model_.config,
                            .attention = model_.stack.attention(),
                            .weights = weights,
                            .layer = layer,
                            .prefix = prefix_ + "layers." + std::to_string(layer) + ".",
                            .tokens = rows_,
                            .activations = activations,
                            .rows = scratch_.tape.rows,
                            .dex_scale = model_.dex_scale},
                           model_.parameters, gradients_, linear_, dx, scratch_.layer, parallel_);
    if (again) std::swap(kept.input, scratch_.replayed.input);
    output = kept.input.data();
  }
}

}  // namespace

GradientResult add_gradients(const GradientModel& model, const ForwardInputs& inputs,
                             const GradientOptions& options, GradientMap& gradients,
                             GradientScratch& scratch, const Parallel& parallel) {
  return ModelBackward(model, inputs, options, gradients, scratch, parallel).run();
}

}  // namespace diffllama
