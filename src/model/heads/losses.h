#pragma once

#include <cstdint>
#include <span>

namespace diffllama {

/// Labels with this value are not counted (torch's ignore_index).
inline constexpr std::int64_t kIgnoreLabel = -100;

/// Throws InvalidArgument, naming `field`, unless the label is kIgnoreLabel or in 0..classes-1.
void check_label(const char* field, std::int64_t label, std::int64_t classes,
                 std::int64_t position);

/// -log softmax(logits)[label], label in 0..size-1.
double cross_entropy_term(std::span<const float> logits, std::int64_t label);

/// Mean over the counted rows of -log softmax(logits[row])[label]; NaN when no row is counted, as
/// torch gives it. logits [rows, classes]. Throws InvalidArgument, naming `field`, for a label that
/// is neither kIgnoreLabel nor in 0..classes-1.
float cross_entropy(std::span<const float> logits, std::int64_t classes,
                    std::span<const std::int64_t> labels, const char* field);

/// Mean of (prediction - target)^2.
float mean_squared_error(std::span<const float> predictions, std::span<const float> targets);

/// Mean of the binary cross entropy of sigmoid(logit) and target (torch's BCEWithLogitsLoss).
float binary_cross_entropy(std::span<const float> logits, std::span<const float> targets);

}  // namespace diffllama
