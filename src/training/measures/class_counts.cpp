#include "training/measures/class_counts.h"

#include <cmath>
#include <cstddef>

namespace diffllama {
namespace {

/// Of a class: how often it was the label, the prediction, and both.
struct Marginals {
  double labels = 0, predictions = 0, hits = 0;
};

std::vector<Marginals> marginals(const std::vector<std::vector<std::int64_t>>& counts) {
  std::vector<Marginals> result(counts.size());
  for (std::size_t label = 0; label < counts.size(); ++label) {
    for (std::size_t prediction = 0; prediction < counts.size(); ++prediction) {
      const auto count = static_cast<double>(counts[label][prediction]);
      result[label].labels += count;
      result[prediction].predictions += count;
      if (label == prediction) result[label].hits = count;
    }
  }
  return result;
}

}  // namespace

ClassCounts::ClassCounts(std::int64_t classes)
    : counts_(static_cast<std::size_t>(classes),
              std::vector<std::int64_t>(static_cast<std::size_t>(classes))) {}

void ClassCounts::add(std::int64_t label, std::int64_t prediction) {
  ++counts_[static_cast<std::size_t>(label)][static_cast<std::size_t>(prediction)];
  ++total_;
}

double ClassCounts::accuracy() const {
  if (total_ == 0) return 0;
  double hits = 0;
  for (const Marginals& each : marginals(counts_)) hits += each.hits;
  return hits / static_cast<double>(total_);
}

double ClassCounts::macro_f1() const {
  double sum = 0;
  std::int64_t classes = 0;
  for (const Marginals& each : marginals(counts_)) {
    if (each.labels + each.predictions == 0) continue;
    sum += 2 * each.hits / (each.labels + each.predictions);
    ++classes;
  }
  return classes == 0 ? 0 : sum / static_cast<double>(classes);
}

double ClassCounts::matthews() const {
  const auto total = static_cast<double>(total_);
  double hits = 0, products = 0, labels = 0, predictions = 0;  // sums; the last two of squares
  for (const Marginals& each : marginals(counts_)) {
    hits += each.hits;
    products += each.labels * each.predictions;
    labels += each.labels * each.labels;
    predictions += each.predictions * each.predictions;
  }
  const double spread = (total * total - labels) * (total * total - predictions);
  return spread == 0 ? 0 : (hits * total - products) / std::sqrt(spread);
}

}  // namespace diffllama
