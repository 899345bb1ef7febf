#pragma once

#include "base/parallel.h"
#include "diffllama/model.h"
#include "model/batch_state.h"
#include "model/diffllama_model.h"
#include "model/weights.h"

namespace diffllama {

/// A model as forward needs it.
struct ForwardModel {
  const ModelConfig& config;
  const ModelWeights& weights;
  const DiffLlamaModel& stack;
};

/// What `forward` of the transformers classes computes (docs/model.md "Heads", "Masks and
/// positions"). Without `state` nothing is kept, and position_ids without a mask may hold several
/// packed sequences a row. Throws InvalidArgument naming the input.
ForwardOutput forward(const ForwardModel& model, const ForwardInputs& inputs, BatchState* state,
                      const Parallel& parallel);

}  // namespace diffllama
