#include <limits>
#include <vector>

#include "model/heads/heads.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"

namespace diffllama {
namespace {

// Mean of the cross entropies over each example's tokens; NaN where no position counts.
float span_loss(const char* name, const Tensor& logits, const Tensor& positions,
                std::span<const std::int64_t> example_ends) {
  const std::vector<std::int64_t> labels = span_labels(name, positions, example_ends);
  double total = 0;
  std::int64_t counted = 0;
  std::size_t first = 0;
  for (std::size_t e = 0; e < labels.size(); ++e) {
    const auto end = static_cast<std::size_t>(example_ends[e]);
    if (labels[e] != kIgnoreLabel) {
      total += cross_entropy_term(logits.f32().subspan(first, end - first), labels[e]);
      ++counted;
    }
    first = end;
  }
  if (counted == 0) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(total / static_cast<double>(counted));
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
    output.loss =
        (span_loss("start_positions", start, *context.inputs.start_positions,
                   context.example_ends) +
         span_loss("end_positions", end, *context.inputs.end_positions, context.example_ends)) /
        2.0F;
  }
  output.start_logits = std::move(start);
  output.end_logits = std::move(end);
}

}  // namespace diffllama
