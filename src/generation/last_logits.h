#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/matmul.h"
#include "model/forward.h"

namespace diffllama {

/// The step that generation repeats: what is new of some sequences goes through the model, and the
/// logits of each one's last token come out. Scratch memory is kept from one step to the next.
class LastLogits {
 public:
  struct Sequence {
    SequenceCache* cache = nullptr;
    /// All tokens, those that the cache holds already first; at least one is new.
    std::span<const std::int64_t> ids;
  };

  /// `model` is a causal LM; it and `parallel` must outlive this.
  LastLogits(const ForwardModel& model, const Parallel& parallel)
      : model_(model), parallel_(parallel) {}

  /// [sequences, V], until the next call.
  std::span<float> run(std::span<const Sequence> sequences);
  /// Runs all but the last token of what is new, so that forks of the cache may go on from there.
  void run_but_last(const Sequence& sequence);

 private:
  SequenceStep step(const Sequence& sequence, std::size_t end) const;
  /// positions_ holds at least `count`.
  void grow_positions(std::size_t count);

  ForwardModel model_;
  const Parallel& parallel_;
  ForwardScratch scratch_;
  std::vector<SequenceStep> steps_;
  std::vector<std::int64_t> positions_;  // 0, 1, ...
  Buffer<float> hidden_, logits_;
  ActivationRows rows_;
};

}  // namespace diffllama
