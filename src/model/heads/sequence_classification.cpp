#include <algorithm>
#include <vector>

#include "model/heads/heads.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"

namespace diffllama {
namespace {

float classification_loss(const ModelConfig& config, const Tensor& logits, const Tensor& labels) {
  const std::int64_t examples = logits.shape()[0];
  const std::int64_t classes = logits.shape()[1];
  const ProblemType problem = problem_type_of(config, classes, labels);
  if (problem == ProblemType::single_label_classification) {
    return cross_entropy(logits.f32(), classes, class_labels(labels, examples), "labels");
  }
  const std::vector<float> targets = class_targets(labels, examples, classes);
  return problem == ProblemType::regression ? mean_squared_error(logits.f32(), targets)
                                            : binary_cross_entropy(logits.f32(), targets);
}

}  // namespace

void sequence_classification_head(const HeadContext& context, ForwardOutput& output) {
  const Shape& shape = context.last_hidden_state.shape();
  const std::int64_t width = shape[2];
  const std::vector<std::int64_t> rows =
      pooled_rows(context.config, context.inputs, shape[0], context.example_ends);
  const auto examples = std::ssize(rows);
  std::vector<float> pooled(static_cast<std::size_t>(examples * width));
  auto out = pooled.begin();
  for (const std::int64_t row : rows) {
    out = std::copy_n(context.last_hidden_state.f32().data() + row * width, width, out);
  }
  Tensor logits(DType::float32, {examples, context.weights.head.weight.n()});
  ActivationRows scratch;
  head_product(context.weights, pooled.data(), examples, logits.f32().data(), scratch,
               context.parallel);
  if (context.inputs.labels)
    output.loss = classification_loss(context.config, logits, *context.inputs.labels);
  output.logits = std::move(logits);
}

}  // namespace diffllama
