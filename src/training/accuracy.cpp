#include "training/accuracy.h"

#include <algorithm>
#include <span>

namespace diffllama {

void Accuracy::add(const ModelConfig& config, const ForwardInputs& inputs,
                   const ForwardOutput& output) {
  const bool classifies = config.architecture == Architecture::sequence_classification ||
                          config.architecture == Architecture::token_classification;
  if (!classifies || config.num_labels() < 2 || !inputs.labels || !output.logits ||
      inputs.labels->dtype() != DType::int64) {
    return;
  }
  const std::span<const std::int64_t> labels = inputs.labels->i64();
  const std::span<const float> logits = output.logits->f32();
  const auto classes = static_cast<std::size_t>(config.num_labels());
  if (logits.size() != labels.size() * classes) return;  // several labels each
  for (std::size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0) continue;
    const auto scores = logits.subspan(row * classes, classes);
    ++labels_;
    hits_ += std::ranges::max_element(scores) - scores.begin() == labels[row] ? 1 : 0;
  }
}

std::optional<double> Accuracy::value() const {
  if (labels_ == 0) return std::nullopt;
  return static_cast<double>(hits_) / static_cast<double>(labels_);
}

}  // namespace diffllama
