#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "diffllama/model.h"
#include "model/batch_state.h"
#include "model/diffllama_model.h"
#include "model/forward_batch.h"
#include "model/weights.h"

namespace diffllama {

/// A model as a forward needs it.
struct ForwardModel {
  const ModelConfig& config;
  const ModelWeights& weights;
  const DiffLlamaModel& stack;
  HeadExamples examples = HeadExamples::rows;
};

/// A forward of the transformers classes in parts: the inputs, read and checked, as steps that the
/// stack runs; then the head on what it made of them.
class ForwardPass {
 public:
  /// `inputs` and `state` must outlive it. Without `state` nothing is kept, and position_ids
  /// without a mask may hold several packed sequences a row. Throws InvalidArgument naming the
  /// input.
  ForwardPass(const ForwardModel& model, const ForwardInputs& inputs, BatchState* state);
  ForwardPass(const ForwardPass&) = delete;
  ForwardPass& operator=(const ForwardPass&) = delete;

  const ForwardBatch& batch() const { return batch_; }
  std::span<const SequenceStep> steps() const { return steps_; }
  /// Before the stack runs: makes what the steps write for the head and the caller.
  void allocate_outputs();
  /// After it has: what the class gives. Throws InvalidArgument for labels out of place.
  ForwardOutput apply_head(const Parallel& parallel);

 private:
  void set_outputs(std::int64_t first, SequenceStep& step);

  ForwardModel model_;
  const ForwardInputs& inputs_;
  ForwardBatch batch_;
  std::optional<BatchState> own_;  // without a cache of the caller's, one for each segment
  BatchState& state_;
  std::vector<SequenceStep> steps_;
  Tensor last_hidden_state_;
  ForwardOutput output_;
};

/// What `forward` of the transformers classes computes (docs/model.md "Heads", "Masks and
/// positions"); `state` as in ForwardPass. When it throws, `state` is as it was. Throws
/// InvalidArgument naming the input.
ForwardOutput run_forward(const ForwardModel& model, const ForwardInputs& inputs, BatchState* state,
                          const Parallel& parallel);

}  // namespace diffllama
