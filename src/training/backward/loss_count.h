#pragma once

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "model/forward_batch.h"

namespace diffllama {

/// What a loss is divided by: the labels that count; in question answering those of start_positions
/// and of end_positions apart.
struct LossCount {
  double first = 0;
  double second = 0;

  LossCount& operator+=(const LossCount& other) {
    first += other.first;
    second += other.second;
    return *this;
  }
};

/// Of one batch, as read_batch() reads it. Counts numbers, not examples, where the loss is a mean
/// over numbers (regression, multi label). Throws InvalidArgument where labels are absent or of the
/// wrong shape or dtype.
LossCount count_labels(const ModelConfig& config, const ForwardInputs& inputs,
                       const ForwardBatch& batch);
/// Of a batch whose sequences are the head's examples.
LossCount count_labels(const ModelConfig& config, const ForwardInputs& inputs);

}  // namespace diffllama
