#pragma once

#include <cstdint>
#include <optional>

#include "diffllama/config.h"
#include "diffllama/model.h"

namespace diffllama {

/// Share of labels that the largest logit hits, over batches: sequence classification with one
/// label of many, and token classification, labels of -100 not counted.
class Accuracy {
 public:
  void add(const ModelConfig& config, const ForwardInputs& inputs, const ForwardOutput& output);
  /// Nothing for other heads and labels.
  std::optional<double> value() const;

 private:
  std::int64_t hits_ = 0, labels_ = 0;
};

}  // namespace diffllama
