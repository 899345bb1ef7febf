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

/// What a source's examples are measured by, over all batches of an evaluation.
class Measurement {
 public:
  struct Result {
    std::vector<Measure> measures;
    std::optional<ConfusionMatrix> confusion;
  };

  Measurement() = default;
  virtual ~Measurement() = default;
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  /// A batch: the examples' numbers, ascending from call to call, what they were collated to, and
  /// what the model made of it, with its loss.
  virtual void add(std::span<const std::int64_t> examples, const ForwardInputs& inputs,
                   const ForwardOutput& output) = 0;
  /// Of all batches, once.
  virtual Result result() = 0;
};

}  // namespace diffllama
