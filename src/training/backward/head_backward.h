#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "kernels/matmul.h"
#include "model/forward_batch.h"
#include "model/weights.h"
#include "training/backward/linear_backward.h"
#include "training/backward/loss_count.h"

namespace diffllama {

/// Scratch of a head's backward; grows and is used again.
struct HeadBackwardScratch {
  Buffer<float> x, logits, dx;  // of the rows that the head looks at
  ActivationRows rows;
};

/// What a head's backward works on. B batch, T tokens, C hidden_size, E examples.
struct HeadGradient {
  const ModelConfig& config;
  const ModelWeights& weights;
  const ForwardInputs& inputs;
  const ForwardBatch& batch;       // [B, T], E
  const float* last_hidden_state;  // [B, T, C]
  LossCount denominator;           // what the losses are divided by
  std::optional<std::uint64_t> dropout_seed;
};

/// The loss of the heads in model/heads, as a sum divided by the denominator, and its backward:
/// writes d_hidden [B, T, C] and adds the gradients of the head's parameters. Rows whose label does
/// not count are left out of every product. Token classification drops out its inputs where there
/// is a seed. Throws InvalidArgument for labels out of range.
double head_backward(const HeadGradient& head, LinearBackward& linear, float* d_hidden,
                     HeadBackwardScratch& scratch, const Parallel& parallel);

}  // namespace diffllama
