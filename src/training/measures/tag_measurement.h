#pragma once

#include <string>
#include <vector>

#include "training/measures/class_counts.h"
#include "training/measures/entity_counts.h"
#include "training/measures/measurement.h"

namespace diffllama {

/// Token classification, words with a label: accuracy, the confusion matrix and, where the labels
/// name entities (are_entity_labels), entity_f1, entity_precision and entity_recall.
class TagMeasurement : public Measurement {
 public:
  TagMeasurement(std::vector<std::string> labels, PredictionSink sink);

  void add(const MeasuredBatch& batch) override;
  Result result() override;

 private:
  std::vector<std::string> labels_;
  PredictionSink sink_;
  bool entities_;
  ClassCounts counts_;
  EntityCounts entity_counts_;
};

}  // namespace diffllama
