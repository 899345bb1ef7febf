#include "microscope/capture.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "model/forward_batch.h"

namespace diffllama {

void capture_layers(const ForwardModel& model, std::span<const std::int64_t> ids,
                    const Parallel& parallel,
                    const std::function<void(const CapturedLayer&)>& show) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(ids, {1, tokens});
  const ForwardBatch batch = read_batch(model.config, inputs, nullptr);
  SequenceCache cache = model.stack.make_cache();
  SequenceStep step = make_step(model.config, inputs, batch, 0, tokens);
  step.cache = &cache;

  ForwardScratch scratch;
  ActivationTape tape;
  tape.inputs_only = true;
  model.stack.record(std::span(&step, 1), scratch, tape, parallel);

  const Shape shape = {model.config.num_attention_heads, tokens, tokens};
  Tensor maps(DType::float32, shape);
  Tensor logits(DType::float32, shape);
  std::vector<std::int64_t> columns(ids.size());
  std::iota(columns.begin(), columns.end(), std::int64_t{0});
  const std::int64_t layers = model.config.num_hidden_layers;
  // Every layer writes all that its tokens may see, in the same places: the rest stays zero.
  step.attentions.assign(static_cast<std::size_t>(layers), {.maps = maps.f32().data(),
                                                            .logits = logits.f32().data(),
                                                            .tokens = tokens,
                                                            .keys = tokens,
                                                            .key_columns = columns.data()});
  model.stack.rewind(tape, scratch);
  LayerActivations activations;
  const auto width = static_cast<std::size_t>(tokens * model.config.hidden_size);
  const std::int64_t outputs = model.stack.geometry().output_heads();
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const auto number = static_cast<std::size_t>(layer);
    std::swap(activations.input, tape.layers[number].input);
    model.stack.replay(layer, tape, scratch, activations, parallel);
    std::span<const float> lambdas;
    if (model.stack.attention().lambda == LambdaRule::sigmoid) {
      lambdas = {activations.lambdas.data(), static_cast<std::size_t>(tokens * outputs)};
    }
    const float* const output =
        layer + 1 < layers ? tape.layers[number + 1].input.data() : tape.last.data();
    show({.number = layer,
          .maps = maps,
          .logits = logits,
          .lambdas = lambdas,
          .lambda = model.weights.layers[number].differential.lambda,
          .output = {output, width}});
  }
}

}  // namespace diffllama
