#include <algorithm>
#include <vector>

#include "diffllama/error.h"
#include "model/heads/head_checks.h"
#include "model/heads/heads.h"
#include "model/heads/losses.h"

namespace diffllama {
namespace {

// The last token whose id is not pad_token_id; the first one when there is none. The attention mask
// plays no part.
std::vector<std::int64_t> pooled_positions(const HeadContext& context) {
  const std::int64_t batch = context.last_hidden_state.shape()[0];
  const std::int64_t tokens = context.last_hidden_state.shape()[1];
  std::vector<std::int64_t> positions(static_cast<std::size_t>(batch), tokens - 1);
  const auto& pad = context.config.pad_token_id;
  if (!pad) {
    if (batch != 1) {
      throw InvalidArgument(
          "[pad_token_id] expected one in config.json to find the last token of each of " +
          std::to_string(batch) + " sequences, got none");
    }
    return positions;
  }
  if (!context.inputs.input_ids) return positions;
  const auto ids = context.inputs.input_ids->i64();
  for (std::int64_t b = 0; b < batch; ++b) {
    std::int64_t position = tokens - 1;
    while (position > 0 && ids[static_cast<std::size_t>(b * tokens + position)] == *pad) --position;
    positions[static_cast<std::size_t>(b)] = position;
  }
  return positions;
}

std::vector<float> as_float(const Tensor& labels) {
  if (labels.dtype() == DType::int64) return {labels.i64().begin(), labels.i64().end()};
  return {labels.f32().begin(), labels.f32().end()};
}

float classification_loss(const ModelConfig& config, const Tensor& logits, const Tensor& labels) {
  const std::int64_t batch = logits.shape()[0];
  const std::int64_t classes = logits.shape()[1];
  const bool integers = labels.dtype() == DType::int64;
  // transformers' rule where config.json has no problem_type.
  const ProblemType inferred = classes == 1 ? ProblemType::regression
                               : integers   ? ProblemType::single_label_classification
                                            : ProblemType::multi_label_classification;
  const ProblemType problem = config.problem_type.value_or(inferred);
  if (problem == ProblemType::single_label_classification) {
    require_tensor("labels", labels, DType::int64,
                   labels.shape().size() == 2 ? Shape{batch, 1} : Shape{batch});
    return cross_entropy(logits.f32(), classes, labels.i64(), "labels");
  }
  const bool flat = classes == 1 && labels.shape().size() == 1;
  require_tensor("labels", labels, integers ? DType::int64 : DType::float32,
                 flat ? Shape{batch} : Shape{batch, classes});
  return problem == ProblemType::regression ? mean_squared_error(logits.f32(), as_float(labels))
                                            : binary_cross_entropy(logits.f32(), as_float(labels));
}

}  // namespace

void sequence_classification_head(const HeadContext& context, ForwardOutput& output) {
  const Shape& shape = context.last_hidden_state.shape();
  const std::int64_t batch = shape[0], tokens = shape[1], width = shape[2];
  const std::vector<std::int64_t> positions = pooled_positions(context);
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
