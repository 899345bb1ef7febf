#include "model/heads/targets.h"

#include <algorithm>
#include <string>

#include "diffllama/error.h"
#include "model/heads/head_checks.h"
#include "model/heads/losses.h"

namespace diffllama {

std::vector<std::int64_t> next_token_labels(const Tensor& labels, std::int64_t batch,
                                            std::int64_t tokens) {
  require_tensor("labels", labels, DType::int64, {batch, tokens});
  std::vector<std::int64_t> shifted(labels.i64().begin() + 1, labels.i64().end());
  shifted.push_back(kIgnoreLabel);
  for (std::int64_t b = 1; b < batch; ++b) {
    shifted[static_cast<std::size_t>(b * tokens - 1)] = kIgnoreLabel;
  }
  return shifted;
}

std::vector<std::int64_t> pooled_positions(const ModelConfig& config, const ForwardInputs& inputs,
                                           std::int64_t batch, std::int64_t tokens) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(batch), tokens - 1);
  const auto& pad = config.pad_token_id;
  if (!pad) {
    if (batch != 1) {
      throw InvalidArgument(
          "[pad_token_id] expected one in config.json to find the last token of each of " +
          std::to_string(batch) + " sequences, got none");
    }
    return positions;
  }
  if (!inputs.input_ids) return positions;
  const auto ids = inputs.input_ids->i64();
  for (std::int64_t b = 0; b < batch; ++b) {
    std::int64_t position = tokens - 1;
    while (position > 0 && ids[static_cast<std::size_t>(b * tokens + position)] == *pad) --position;
    positions[static_cast<std::size_t>(b)] = position;
  }
  return positions;
}

ProblemType problem_type_of(const ModelConfig& config, std::int64_t classes, const Tensor& labels) {
  if (config.problem_type) return *config.problem_type;
  if (classes == 1) return ProblemType::regression;
  return labels.dtype() == DType::int64 ? ProblemType::single_label_classification
                                        : ProblemType::multi_label_classification;
}

std::vector<std::int64_t> class_labels(const Tensor& labels, std::int64_t batch) {
  require_tensor("labels", labels, DType::int64,
                 labels.shape().size() == 2 ? Shape{batch, 1} : Shape{batch});
  return {labels.i64().begin(), labels.i64().end()};
}

std::vector<float> class_targets(const Tensor& labels, std::int64_t batch, std::int64_t classes) {
  const bool integers = labels.dtype() == DType::int64;
  const bool flat = classes == 1 && labels.shape().size() == 1;
  require_tensor("labels", labels, integers ? DType::int64 : DType::float32,
                 flat ? Shape{batch} : Shape{batch, classes});
  if (integers) return {labels.i64().begin(), labels.i64().end()};
  return {labels.f32().begin(), labels.f32().end()};
}

std::vector<std::int64_t> span_labels(const char* name, const Tensor& positions, std::int64_t batch,
                                      std::int64_t tokens) {
  require_tensor(name, positions, DType::int64,
                 positions.shape().size() == 2 ? Shape{batch, 1} : Shape{batch});
  std::vector<std::int64_t> clamped(positions.i64().begin(), positions.i64().end());
  for (std::int64_t& position : clamped) position = std::clamp<std::int64_t>(position, 0, tokens);
  return clamped;
}

bool has_spans(const ForwardInputs& inputs) {
  if (inputs.start_positions.has_value() != inputs.end_positions.has_value()) {
    throw InvalidArgument(
        "[start_positions] expected start_positions and end_positions together, got one of them");
  }
  return inputs.start_positions.has_value();
}

}  // namespace diffllama
