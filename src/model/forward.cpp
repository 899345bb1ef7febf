#include "model/forward.h"

#include <optional>

#include "model/forward_batch.h"
#include "model/heads/heads.h"

namespace diffllama {
namespace {

void allocate_outputs(const ModelConfig& config, const ForwardInputs& inputs,
                      const ForwardBatch& batch, ForwardOutput& output) {
  if (inputs.output_hidden_states) {
    for (std::int64_t i = 0; i <= config.num_hidden_layers; ++i) {
      output.hidden_states.emplace_back(DType::float32,
                                        Shape{batch.batch, batch.tokens, config.hidden_size});
    }
  }
  if (inputs.output_attentions) {
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      output.attentions.emplace_back(DType::float32, Shape{batch.batch, config.num_attention_heads,
                                                           batch.tokens, batch.keys()});
    }
  }
}

// Where the step of tokens [first, end) writes.
void set_outputs(const ModelConfig& config, const ForwardBatch& batch, std::int64_t first,
                 Tensor& last_hidden_state, ForwardOutput& output, SequenceStep& step) {
  const std::int64_t width = config.hidden_size;
  const std::int64_t row = first / batch.tokens;
  step.output = last_hidden_state.f32().data() + first * width;
  for (Tensor& states : output.hidden_states)
    step.hidden_states.push_back(states.f32().data() + first * width);
  for (Tensor& maps : output.attentions) {
    step.attentions.push_back(
        {.maps = maps.f32().data() + row * config.num_attention_heads * batch.tokens * batch.keys(),
         .tokens = batch.tokens,
         .keys = batch.keys(),
         .first_token = first - row * batch.tokens});
  }
}

}  // namespace

ForwardOutput forward(const ForwardModel& model, const ForwardInputs& inputs, BatchState* state,
                      const Parallel& parallel) {
  const ForwardBatch batch = read_batch(model.config, inputs, state);
  ForwardOutput output;
  allocate_outputs(model.config, inputs, batch, output);
  Tensor last_hidden_state(DType::float32, {batch.batch, batch.tokens, model.config.hidden_size});

  // Without a cache of the caller's, each segment has one of its own for this call.
  std::optional<BatchState> own;
  if (state == nullptr) {
    own = make_batch_state(model.stack, static_cast<std::int64_t>(batch.segment_ends.size()),
                           CacheType::automatic);
  }
  BatchState& caches = own ? *own : *state;
  std::vector<SequenceStep> steps;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < batch.segment_ends.size(); ++i) {
    const std::int64_t end = batch.segment_ends[i];
    SequenceStep step = make_step(model.config, inputs, batch, first, end);
    set_outputs(model.config, batch, first, last_hidden_state, output, step);
    step.cache = &caches.sequences[i];
    std::vector<std::int64_t>& columns = caches.key_columns[i];
    columns.resize(
        static_cast<std::size_t>(step.cache->keys()));  // drops what a call that failed left behind
    for (std::int64_t t = first; t < end; ++t) {
      if (batch.is_visible(t)) columns.push_back(batch.past + t % batch.tokens);
    }
    for (AttentionMaps& maps : step.attentions) maps.key_columns = columns.data();
    steps.push_back(std::move(step));
    first = end;
  }
  model.stack.forward(steps, caches.scratch, parallel);
  caches.length += batch.tokens;

  apply_head({.config = model.config,
              .weights = model.weights,
              .inputs = inputs,
              .last_hidden_state = last_hidden_state,
              .parallel = parallel},
             output);
  return output;
}

}  // namespace diffllama
