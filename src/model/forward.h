#pragma once

#include <cstdint>
#include <span>

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

/// Throws InvalidArgument unless every id is in 0..vocab_size-1.
void check_ids(const char* name, std::span<const std::int64_t> ids, std::int64_t vocab_size);

}  // namespace diffllama
