#include <algorithm>
#include <vector>

#include "model/heads/heads.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"

namespace diffllama {
namespace {

float classification_loss(const ModelConfig& config, const Tensor& logits, const Tensor& labels) {
  const std::int64_t batch = logits.shape()[0];
  const std::int64_t classes = logits.shape()[1];
  const ProblemType problem = problem_type_of(config, classes, labels);
  if (problem == ProblemType::single_label_classification) {
    return cross_entropy(logits.f32(), classes, class_labels(labels, batch), "labels");
  }
  const std::vector<float> targets = class_targets(labels, batch, classes);
  return problem == ProblemType::regression ? mean_squared_error(logits.f32(), targets)
                                            : binary_cross_entropy(logits.f32(), targets);
}

}  // namespace

void sequence_classification_head(const HeadContext& context, ForwardOutput& output) {
  const Shape& shape = context.last_hidden_state.shape();
  const std::int64_t batch = shape[0], tokens = shape[1], width = shape[2];
  const std::vector<std::int64_t> positions =
      pooled_positions(context.config, context.inputs, batch, tokens);
  std::vector<float> pooled(static_cast<std::size_t>(batch * width));
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t row = b * tokens + positions[static_cast<std::size_t>(b)];
    std::copy_n(context.last_hidden_state.f32().data() + row * width, width,
                pooled.data() + b * width);
  }
  Tensor logits(DType::float32, {batch, context.weights.head.weight.n()});
  ActivationRows scratch;
  head_product(context.weights, pooled.data(), batch, logits.f32().data(), scratch,
               context.parallel);
  if (context.inputs.labels)
    output.loss = classification_loss(context.config, logits, *context.inputs.labels);
  output.logits = std::move(logits);
}

}  // namespace diffllama
