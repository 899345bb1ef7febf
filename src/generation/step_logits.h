#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/matmul.h"
#include "model/forward.h"

namespace diffllama {

/// The step that generation repeats: new tokens of some sequences go through the model, and the
/// last hidden states and logits that are wanted of them come out. Scratch memory is kept from one
/// step to the next.
class StepLogits {
 public:
  enum class Rows { none, last, all };
  struct Sequence {
    SequenceCache* cache = nullptr;
    /// Tokens that the cache holds already, then the new ones, at least one.
    std::span<const std::int64_t> ids;
    /// Length that picks the rotary frequencies: the whole prompt's for its tokens, one past the
    /// position of a token that comes after it.
    std::int64_t rotary_length = 0;
    Rows rows = Rows::last;  // of the new tokens, what is wanted
    bool logits = true;      // logits of those rows too
  };
  /// What came out for a sequence: [rows, C] and, where asked for, [rows, V]; until the next run.
  struct Output {
    std::int64_t rows = 0;
    std::span<const float> hidden;
    std::span<float> logits;
  };

  /// It and `parallel` must outlive this. Logits need a causal LM.
  StepLogits(const ForwardModel& model, const Parallel& parallel)
      : model_(model), parallel_(parallel) {}

  /// An output for each sequence, until the next run. When it throws, the caches are as they were.
  std::span<const Output> run(std::span<const Sequence> sequences);
  /// [V], those of one sequence's last token.
  std::span<float> last_logits(SequenceCache& cache, std::span<const std::int64_t> ids);

 private:
  /// positions_ holds at least `count`.
  void grow_positions(std::size_t count);
  void place_outputs(std::span<const Sequence> sequences);

  ForwardModel model_;
  const Parallel& parallel_;
  ForwardScratch scratch_;
  std::vector<SequenceStep> steps_;
  std::vector<Output> outputs_;
  std::vector<SequenceCache::Mark> marks_;
  std::vector<std::int64_t> positions_;  // 0, 1, ...
  std::int64_t logit_rows_ = 0;
  Buffer<float> hidden_, logits_;
  ActivationRows rows_;
};

}  // namespace diffllama
