#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/model.h"
#include "diffllama/training.h"

namespace diffllama {

/// Gets a JSON object for each prediction, in order.
using PredictionSink = std::function<void(const nlohmann::ordered_json&)>;

/// Some examples of a source, and what the model made of them.
struct MeasuredBatch {
  std::span<const std::int64_t> examples;  // their numbers, ascending from batch to batch
  /// Where they end in the concatenation of the inputs' rows; of language modelling, where packed
  /// documents do.
  std::span<const std::int64_t> ends;
  const ForwardInputs& inputs;  // what they were collated to
  const ForwardOutput& output;  // with its loss
};

/// What a source's examples are measured by, over all batches of an evaluation.
class Measurement {
 public:
  struct Result {
    std::vector<Measure> measures;
    std::optional<ConfusionMatrix> confusion;
    /// What was measured, where that is not the source's examples: questions, of which each has
    /// one or several windows.
    std::optional<std::int64_t> examples;
  };

  Measurement() = default;
  virtual ~Measurement() = default;
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  virtual void add(const MeasuredBatch& batch) = 0;
  /// Of all batches, once.
  virtual Result result() = 0;
};

}  // namespace diffllama
