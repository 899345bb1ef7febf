#include <vector>

#include "model/heads/heads.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"

namespace diffllama {
namespace {

float span_loss(const char* name, const Tensor& logits, const Tensor& positions) {
  const std::int64_t tokens = logits.shape()[1];
  return cross_entropy(logits.f32(), tokens,
                       span_labels(name, positions, logits.shape()[0], tokens), name, tokens);
}

}  // namespace

void question_answering_head(const HeadContext& context, ForwardOutput& output) {
  const Shape& shape = context.last_hidden_state.shape();
  const std::int64_t rows = shape[0] * shape[1];
  std::vector<float> both(static_cast<std::size_t>(rows * 2));  // [B T, (start, end)]
  ActivationRows scratch;
  head_product(context.weights, context.last_hidden_state.f32().data(), rows, both.data(), scratch,
               context.parallel);
  Tensor start(DType::float32, {shape[0], shape[1]});
  Tensor end(DType::float32, {shape[0], shape[1]});
  for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
    start.f32()[row] = both[2 * row];
    end.f32()[row] = both[2 * row + 1];
  }
  if (has_spans(context.inputs)) {
    output.loss = (span_loss("start_positions", start, *context.inputs.start_positions) +
                   span_loss("end_positions", end, *context.inputs.end_positions)) /
                  2.0F;
  }
  output.start_logits = std::move(start);
  output.end_logits = std::move(end);
}

}  // namespace diffllama
