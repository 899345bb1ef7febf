#include <algorithm>
#include <vector>

#include "diffllama/error.h"
#include "model/heads/head_checks.h"
#include "model/heads/heads.h"
#include "model/heads/losses.h"

namespace diffllama {
namespace {

// Positions past the end clamp to T, which is not counted (transformers' ForQuestionAnsweringLoss).
float span_loss(const char* name, const Tensor& logits, const Tensor& positions) {
  const std::int64_t batch = logits.shape()[0];
  const std::int64_t tokens = logits.shape()[1];
  require_tensor(name, positions, DType::int64,
                 positions.shape().size() == 2 ? Shape{batch, 1} : Shape{batch});
  std::vector<std::int64_t> clamped(positions.i64().begin(), positions.i64().end());
  for (std::int64_t& position : clamped) position = std::clamp<std::int64_t>(position, 0, tokens);
  return cross_entropy(logits.f32(), tokens, clamped, name, tokens);
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
  const auto& starts = context.inputs.start_positions;
  const auto& ends = context.inputs.end_positions;
  if (starts.has_value() != ends.has_value()) {
    throw InvalidArgument(
        "[start_positions] expected start_positions and end_positions together, got one of them");
  }
  if (starts) {
    output.loss =
        (span_loss("start_positions", start, *starts) + span_loss("end_positions", end, *ends)) /
        2.0F;
  }
  output.start_logits = std::move(start);
  output.end_logits = std::move(end);
}

}  // namespace diffllama
