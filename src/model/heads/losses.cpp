#include "model/heads/losses.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "diffllama/error.h"
#include "model/heads/loss_terms.h"

namespace diffllama {

void check_label(const char* field, std::int64_t label, std::int64_t classes,
                 std::int64_t position) {
  if (label == kIgnoreLabel || (label >= 0 && label < classes)) return;
  throw InvalidArgument(std::string("[") + field + "] expected " + std::to_string(kIgnoreLabel) +
                        " or 0.." + std::to_string(classes - 1) + ", got " + std::to_string(label) +
                        " at position " + std::to_string(position));
}

double cross_entropy_term(std::span<const float> logits, std::int64_t label) {
  const double maximum = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - maximum);
  return maximum + std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(label)]);
}

float cross_entropy(std::span<const float> logits, std::int64_t classes,
                    std::span<const std::int64_t> labels, const char* field) {
  double total = 0;
  std::int64_t counted = 0;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const std::int64_t label = labels[row];
    if (label == kIgnoreLabel) continue;
    check_label(field, label, classes, static_cast<std::int64_t>(row));
    total += cross_entropy_term(
        logits.subspan(row * static_cast<std::size_t>(classes), static_cast<std::size_t>(classes)),
        label);
    ++counted;
  }
  if (counted == 0) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(total / static_cast<double>(counted));
}

float mean_squared_error(std::span<const float> predictions, std::span<const float> targets) {
  double total = 0;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    total += squared_error(predictions[i], targets[i]).loss;
  }
  return static_cast<float>(total / static_cast<double>(predictions.size()));
}

float binary_cross_entropy(std::span<const float> logits, std::span<const float> targets) {
  double total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    total += logistic_error(logits[i], targets[i]).loss;
  }
  return static_cast<float>(total / static_cast<double>(logits.size()));
}

}  // namespace diffllama
