#include "model/heads/head_checks.h"
#include "model/heads/heads.h"
#include "model/heads/losses.h"

namespace diffllama {

void token_classification_head(const HeadContext& context, ForwardOutput& output) {
  const Shape& shape = context.last_hidden_state.shape();
  const std::int64_t classes = context.weights.head.weight.n();
  Tensor logits(DType::float32, {shape[0], shape[1], classes});
  ActivationRows scratch;
  head_product(context.weights, context.last_hidden_state.f32().data(), shape[0] * shape[1],
               logits.f32().data(), scratch, context.parallel);
  if (context.inputs.labels) {
    require_tensor("labels", *context.inputs.labels, DType::int64, {shape[0], shape[1]});
    output.loss = cross_entropy(logits.f32(), classes, context.inputs.labels->i64(), "labels");
  }
  output.logits = std::move(logits);
}

}  // namespace diffllama
