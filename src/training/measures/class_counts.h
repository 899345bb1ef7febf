#pragma once

#include <cstdint>
#include <vector>

namespace diffllama {

/// How often a class was predicted for another: counts[label][prediction].
class ClassCounts {
 public:
  explicit ClassCounts(std::int64_t classes);

  void add(std::int64_t label, std::int64_t prediction);
  std::int64_t total() const { return total_; }
  const std::vector<std::vector<std::int64_t>>& counts() const { return counts_; }

  /// Share of predictions that are right; 0 without any, as below.
  double accuracy() const;
  /// Mean F1 of the classes that are labels or predictions somewhere (scikit-learn's f1_score with
  /// average="macro").
  double macro_f1() const;
  /// Matthews' correlation for any number of classes (scikit-learn's matthews_corrcoef); 0 where
  /// all labels or all predictions are the same.
  double matthews() const;

 private:
  std::vector<std::vector<std::int64_t>> counts_;
  std::int64_t total_ = 0;
};

}  // namespace diffllama
