#include "training/measures/class_measurement.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "training/measures/correlation.h"

namespace diffllama {

ClassMeasurement::ClassMeasurement(std::vector<std::string> labels, ProblemType problem_type,
                                   PredictionSink sink)
    : labels_(std::move(labels)),
      problem_type_(problem_type),
      sink_(std::move(sink)),
      counts_(problem_type == ProblemType::single_label_classification ? std::ssize(labels_) : 0),
      hits_(labels_.size()),
      targets_(labels_.size()),
      predictions_(labels_.size()) {}

void ClassMeasurement::add(const MeasuredBatch& batch) {
  const std::size_t classes = labels_.size();
  for (std::size_t row = 0; row < batch.examples.size(); ++row) {
    const std::span<const float> logits =
        batch.output.logits->f32().subspan(row * classes, classes);
    if (problem_type_ == ProblemType::single_label_classification) {
      add_class(batch.inputs.labels->i64()[row], logits);
      continue;
    }
    const std::span<const float> targets =
        batch.inputs.labels->f32().subspan(row * classes, classes);
    if (problem_type_ == ProblemType::regression) {
      add_numbers(targets, logits);
    } else {
      add_classes(targets, logits);
    }
  }
}

void ClassMeasurement::add_class(std::int64_t label, std::span<const float> logits) {
  if (label < 0) return;
  const std::int64_t prediction = std::ranges::max_element(logits) - logits.begin();
  counts_.add(label, prediction);
  if (sink_) {
    sink_({{"label", labels_[static_cast<std::size_t>(label)]},
           {"prediction", labels_[static_cast<std::size_t>(prediction)]}});
  }
}

void ClassMeasurement::add_classes(std::span<const float> targets, std::span<const float> logits) {
  nlohmann::ordered_json labels = nlohmann::json::array(), predictions = nlohmann::json::array();
  bool right = true;
  for (std::size_t c = 0; c < labels_.size(); ++c) {
    const bool label = targets[c] >= 0.5F;
    const bool prediction = logits[c] > 0;  // a sigmoid above one half
    right = right && label == prediction;
    hits_[c].labelled += label ? 1 : 0;
    hits_[c].predicted += prediction ? 1 : 0;
    hits_[c].both += label && prediction ? 1 : 0;
    if (label) labels.push_back(labels_[c]);
    if (prediction) predictions.push_back(labels_[c]);
  }
  ++rows_;
  right_ += right ? 1 : 0;
  if (sink_) sink_({{"labels", std::move(labels)}, {"predictions", std::move(predictions)}});
}

void ClassMeasurement::add_numbers(std::span<const float> targets, std::span<const float> logits) {
  for (std::size_t c = 0; c < labels_.size(); ++c) {
    targets_[c].push_back(double{targets[c]});
    predictions_[c].push_back(double{logits[c]});
  }
  if (!sink_) return;
  if (labels_.size() == 1) {
    sink_({{"label", targets[0]}, {"prediction", logits[0]}});
  } else {
    sink_({{"labels", targets}, {"predictions", logits}});
  }
}

Measurement::Result ClassMeasurement::result() {
  Result result;
  if (problem_type_ == ProblemType::single_label_classification) {
    result.measures = {{"accuracy", counts_.accuracy()},
                       {"macro_f1", counts_.macro_f1()},
                       {"matthews_correlation", counts_.matthews()}};
    result.confusion = {.labels = labels_, .counts = counts_.counts()};
    return result;
  }
  const auto classes = static_cast<double>(labels_.size());
  if (problem_type_ == ProblemType::regression) {
    double pearson_sum = 0, spearman_sum = 0;
    for (std::size_t c = 0; c < labels_.size(); ++c) {
      pearson_sum += pearson(predictions_[c], targets_[c]);
      spearman_sum += spearman(predictions_[c], targets_[c]);
    }
    result.measures = {{"pearson", pearson_sum / classes}, {"spearman", spearman_sum / classes}};
    return result;
  }
  double f1 = 0;
  for (const Hits& hits : hits_) {
    const std::int64_t all = hits.labelled + hits.predicted;
    if (all > 0) f1 += 2 * static_cast<double>(hits.both) / static_cast<double>(all);
  }
  result.measures = {
      {"accuracy", rows_ == 0 ? 0 : static_cast<double>(right_) / static_cast<double>(rows_)},
      {"macro_f1", f1 / classes}};
  return result;
}

}  // namespace diffllama
