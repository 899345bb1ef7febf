#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/training.h"
#include "training/data/example_source.h"

namespace diffllama {

/// How a source is evaluated.
struct EvaluatorOptions {
  std::int64_t batch_size = 8;
  PredictionSink sink;                   // absent: predictions are dropped
  std::function<bool()> stop_requested;  // asked between batches; absent: never
  std::function<void(std::int64_t examples)> progress;
};

/// Loss, weighted by counted labels, and measures over the whole of a source; nothing when it was
/// asked to stop. `forward` takes packed sequences for the head's examples. Throws InvalidArgument
/// where no label counts, and what `forward` throws.
std::optional<Evaluation> evaluate_source(
    const ExampleSource& source, const ModelConfig& config,
    const std::function<ForwardOutput(const ForwardInputs&)>& forward,
    const EvaluatorOptions& options);

/// The value of a measure, or of "loss"; nothing where there is none.
std::optional<double> measure_value(const Evaluation& evaluation, const std::string& name);
/// Whether less of it is better: loss, perplexity and bits_per_byte.
bool lower_is_better(const std::string& name);

}  // namespace diffllama
