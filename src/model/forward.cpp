#include "model/forward.h"

#include <utility>

#include "model/heads/heads.h"

namespace diffllama {

ForwardPass::ForwardPass(const ForwardModel& model, const ForwardInputs& inputs, BatchState* state)
    : model_(model),
      inputs_(inputs),
      batch_(read_batch(model.config, inputs, state, model.examples)),
      own_(state != nullptr
               ? std::nullopt
               : std::optional(make_batch_state(
                     model.stack, static_cast<std::int64_t>(batch_.segment_ends.size()),
                     CacheType::automatic))),
      state_(own_ ? *own_ : *state) {
  std::int64_t first = 0;
  for (std::size_t i = 0; i < batch_.segment_ends.size(); ++i) {
    const std::int64_t end = batch_.segment_ends[i];
    SequenceStep step = make_step(model.config, inputs, batch_, first, end);
    step.cache = &state_.sequences[i];
    std::vector<std::int64_t>& columns = state_.key_columns[i];
    columns.resize(
        static_cast<std::size_t>(step.cache->keys()));  // drops what a call that failed left behind
    for (std::int64_t t = first; t < end; ++t) {
      if (batch_.is_visible(t)) columns.push_back(batch_.past + t % batch_.tokens);
    }
    steps_.push_back(std::move(step));
    first = end;
  }
}

void ForwardPass::allocate_outputs() {
  const ModelConfig& config = model_.config;
  last_hidden_state_ = Tensor(DType::float32, {batch_.batch, batch_.tokens, config.hidden_size});
  if (inputs_.output_hidden_states) {
    for (std::int64_t i = 0; i <= config.num_hidden_layers; ++i) {
      output_.hidden_states.emplace_back(DType::float32,
                                         Shape{batch_.batch, batch_.tokens, config.hidden_size});
    }
  }
  if (inputs_.output_attentions) {
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      output_.attentions.emplace_back(
          DType::float32,
          Shape{batch_.batch, config.num_attention_heads, batch_.tokens, batch_.keys()});
    }
  }
  std::int64_t first = 0;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    set_outputs(first, steps_[i]);
    for (AttentionMaps& maps : steps_[i].attentions)
      maps.key_columns = state_.key_columns[i].data();
    first = batch_.segment_ends[i];
  }
}

// Where the step of the tokens from `first` on writes.
void ForwardPass::set_outputs(std::int64_t first, SequenceStep& step) {
  const std::int64_t width = model_.config.hidden_size;
  const std::int64_t heads = model_.config.num_attention_heads;
  const std::int64_t row = first / batch_.tokens;
  step.output = last_hidden_state_.f32().data() + first * width;
  for (Tensor& states : output_.hidden_states) {
    step.hidden_states.push_back(states.f32().data() + first * width);
  }
  for (Tensor& maps : output_.attentions) {
    step.attentions.push_back(
        {.maps = maps.f32().data() + row * heads * batch_.tokens * batch_.keys(),
         .tokens = batch_.tokens,
         .keys = batch_.keys(),
         .first_token = first - row * batch_.tokens});
  }
}

ForwardOutput ForwardPass::apply_head(const Parallel& parallel) {
  diffllama::apply_head({.config = model_.config,
                         .weights = model_.weights,
                         .inputs = inputs_,
                         .last_hidden_state = last_hidden_state_,
                         .example_ends = batch_.example_ends,
                         .parallel = parallel},
                        output_);
  return std::move(output_);
}

ForwardOutput run_forward(const ForwardModel& model, const ForwardInputs& inputs, BatchState* state,
                          const Parallel& parallel) {
  ForwardPass pass(model, inputs, state);
  pass.allocate_outputs();
  std::vector<SequenceCache::Mark> marks;
  for (const SequenceStep& step : pass.steps()) marks.push_back(step.cache->mark());
  ForwardScratch own;
  model.stack.run(pass.steps(), state == nullptr ? own : state->scratch, parallel);
  try {
    ForwardOutput output = pass.apply_head(parallel);
    if (state != nullptr) state->length += pass.batch().tokens;
    return output;
  } catch (...) {  // labels out of place, or no memory for the logits
    for (std::size_t i = 0; i < marks.size(); ++i) pass.steps()[i].cache->restore(marks[i]);
    throw;
  }
}

}  // namespace diffllama
