#pragma once

#include <algorithm>
#include <cmath>

namespace diffllama {

/// What one prediction adds to a loss, and the derivative of that by the prediction: of the means
/// of losses.h, and of their gradients in training.
struct LossTerm {
  double loss = 0, derivative = 0;
};

/// (prediction - target)^2
inline LossTerm squared_error(double prediction, double target) {
  const double difference = prediction - target;
  return {difference * difference, 2 * difference};
}

/// The binary cross entropy of sigmoid(logit) and target, max(x, 0) - x y + log(1 + exp(-|x|)),
/// which overflows at neither end.
inline LossTerm logistic_error(double logit, double target) {
  return {std::max(logit, 0.0) - logit * target + std::log1p(std::exp(-std::abs(logit))),
          1 / (1 + std::exp(-logit)) - target};
}

}  // namespace diffllama
