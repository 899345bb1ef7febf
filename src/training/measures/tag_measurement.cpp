#include "training/measures/tag_measurement.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

namespace diffllama {

TagMeasurement::TagMeasurement(std::vector<std::string> labels, PredictionSink sink)
    : labels_(std::move(labels)),
      sink_(std::move(sink)),
      entities_(are_entity_labels(labels_)),
      counts_(std::ssize(labels_)) {}

void TagMeasurement::add(const MeasuredBatch& batch) {
  const std::size_t classes = labels_.size();
  std::size_t t = 0;
  for (const std::int64_t end : batch.ends) {
    std::vector<std::string_view> labels, predictions;
    for (; t < static_cast<std::size_t>(end); ++t) {
      const std::int64_t label = batch.inputs.labels->i64()[t];
      if (label < 0) continue;
      const auto logits = batch.output.logits->f32().subspan(t * classes, classes);
      const std::int64_t prediction = std::ranges::max_element(logits) - logits.begin();
      counts_.add(label, prediction);
      labels.push_back(labels_[static_cast<std::size_t>(label)]);
      predictions.push_back(labels_[static_cast<std::size_t>(prediction)]);
    }
    if (entities_) entity_counts_.add(labels, predictions);
    if (sink_) sink_({{"labels", labels}, {"predictions", predictions}});
  }
}

Measurement::Result TagMeasurement::result() {
  Result result;
  result.measures = {{"accuracy", counts_.accuracy()}};
  if (entities_) {
    result.measures.push_back({"entity_f1", entity_counts_.f1()});
    result.measures.push_back({"entity_precision", entity_counts_.precision()});
    result.measures.push_back({"entity_recall", entity_counts_.recall()});
  }
  result.confusion = {.labels = labels_, .counts = counts_.counts()};
  return result;
}

}  // namespace diffllama
