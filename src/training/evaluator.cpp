#include "training/evaluator.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "diffllama/error.h"
#include "training/backward/loss_count.h"

namespace diffllama {

std::optional<Evaluation> evaluate_source(
    const ExampleSource& source, const ModelConfig& config,
    const std::function<ForwardOutput(const ForwardInputs&)>& forward,
    const EvaluatorOptions& options) {
  const std::unique_ptr<Measurement> measurement = source.measurement(options.sink);
  double total = 0, weights = 0;
  std::vector<std::int64_t> examples;
  for (std::int64_t first = 0; first < source.size(); first += options.batch_size) {
    if (options.stop_requested && options.stop_requested()) return std::nullopt;
    examples.clear();
    const std::int64_t end = std::min(source.size(), first + options.batch_size);
    for (std::int64_t example = first; example < end; ++example) examples.push_back(example);
    const ForwardInputs inputs = source.collate(examples);
    const ForwardBatch batch = read_batch(config, inputs, nullptr, HeadExamples::sequences);
    const LossCount count = count_labels(config, inputs, batch);
    const double weight = count.first + count.second;
    if (weight > 0) {
      const ForwardOutput output = forward(inputs);
      total += double{*output.loss} * weight;
      weights += weight;
      if (measurement) measurement->add({examples, batch.example_ends, inputs, output});
    }
    if (options.progress) options.progress(end);
  }
  if (weights == 0) {
    throw InvalidArgument("[evaluate] expected validation data with labels that count, got none");
  }
  Evaluation evaluation;
  evaluation.loss = total / weights;
  evaluation.examples = source.size();
  if (measurement) {
    Measurement::Result result = measurement->result();
    evaluation.measures = std::move(result.measures);
    evaluation.confusion = std::move(result.confusion);
    if (result.examples) {
      evaluation.windows = evaluation.examples;
      evaluation.examples = *result.examples;
    }
  }
  return evaluation;
}

std::optional<double> measure_value(const Evaluation& evaluation, const std::string& name) {
  if (name == "loss") return evaluation.loss;
  const auto found = std::ranges::find(evaluation.measures, name, &Measure::name);
  if (found == evaluation.measures.end()) return std::nullopt;
  return found->value;
}

bool lower_is_better(const std::string& name) {
  return name == "loss" || name == "perplexity" || name == "bits_per_byte";
}

}  // namespace diffllama
