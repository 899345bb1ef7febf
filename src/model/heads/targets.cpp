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

std::vector<std::int64_t> pooled_rows(const ModelConfig& config, const ForwardInputs& inputs,
                                      std::int64_t batch,
                                      std::span<const std::int64_t> example_ends) {
  const auto& pad = config.pad_token_id;
  if (!pad && batch != 1) {
    throw InvalidArgument(
        "[pad_token_id] expected one in config.json to find the last token of each of " +
        std::to_string(batch) + " sequences, got none");
  }
  std::vector<std::int64_t> rows;
  rows.reserve(example_ends.size());
  std::int64_t first = 0;
  for (const std::int64_t end : example_ends) {
    std::int64_t row = end - 1;
    if (pad && inputs.input_ids) {
      const auto ids = inputs.input_ids->i64();
      while (row > first && ids[static_cast<std::size_t>(row)] == *pad) --row;
    }
    rows.push_back(row);
    first = end;
  }
  return rows;
}

ProblemType problem_type_of(const ModelConfig& config, std::int64_t classes, const Tensor& labels) {
  if (config.problem_type) return *config.problem_type;
  if (classes == 1) return ProblemType::regression;
  return labels.dtype() == DType::int64 ? ProblemType::single_label_classification
                                        : ProblemType::multi_label_classification;
}

std::vector<std::int64_t> class_labels(const Tensor& labels, std::int64_t examples) {
  require_tensor("labels", labels, DType::int64,
                 labels.shape().size() == 2 ? Shape{examples, 1} : Shape{examples});
  return {labels.i64().begin(), labels.i64().end()};
}

std::vector<float> class_targets(const Tensor& labels, std::int64_t examples,
                                 std::int64_t classes) {
  const bool integers = labels.dtype() == DType::int64;
  const bool flat = classes == 1 && labels.shape().size() == 1;
  require_tensor("labels", labels, integers ? DType::int64 : DType::float32,
                 flat ? Shape{examples} : Shape{examples, classes});
  if (integers) return {labels.i64().begin(), labels.i64().end()};
  return {labels.f32().begin(), labels.f32().end()};
}

std::vector<std::int64_t> span_labels(const char* name, const Tensor& positions,
                                      std::span<const std::int64_t> example_ends) {
  const std::int64_t examples = std::ssize(example_ends);
  require_tensor(name, positions, DType::int64,
                 positions.shape().size() == 2 ? Shape{examples, 1} : Shape{examples});
  std::vector<std::int64_t> labels(positions.i64().begin(), positions.i64().end());
  std::int64_t first = 0;
  for (std::size_t e = 0; e < labels.size(); ++e) {
    labels[e] =
        labels[e] < example_ends[e] - first ? std::max<std::int64_t>(labels[e], 0) : kIgnoreLabel;
    first = example_ends[e];
  }
  return labels;
}

bool has_spans(const ForwardInputs& inputs) {
  if (inputs.start_positions.has_value() != inputs.end_positions.has_value()) {
    throw InvalidArgument(
        "[start_positions] expected start_positions and end_positions together, got one of them");
  }
  return inputs.start_positions.has_value();
}

}  // namespace diffllama
