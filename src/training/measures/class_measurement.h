#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffllama/config.h"
#include "training/measures/class_counts.h"
#include "training/measures/measurement.h"

namespace diffllama {

/// Sequence classification. One label of many: accuracy, macro_f1, matthews_correlation and the
/// confusion matrix. Several labels, each predicted where its score is above one half: accuracy
/// (all of a text's right) and macro_f1. Numbers: pearson and spearman, the mean where there are
/// several.
class ClassMeasurement : public Measurement {
 public:
  ClassMeasurement(std::vector<std::string> labels, ProblemType problem_type, PredictionSink sink);

  void add(const MeasuredBatch& batch) override;
  Result result() override;

 private:
  /// Of one of several labels.
  struct Hits {
    std::int64_t labelled = 0, predicted = 0, both = 0;
  };
  void add_class(std::int64_t label, std::span<const float> logits);
  void add_classes(std::span<const float> targets, std::span<const float> logits);
  void add_numbers(std::span<const float> targets, std::span<const float> logits);

  std::vector<std::string> labels_;
  ProblemType problem_type_;
  PredictionSink sink_;
  ClassCounts counts_;
  std::vector<Hits> hits_;
  std::int64_t rows_ = 0, right_ = 0;
  std::vector<std::vector<double>> targets_, predictions_;  // by column
};

}  // namespace diffllama
