#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "model/forward.h"

namespace diffllama {

/// Runs many token sequences through the stack, as many at a time as fill a step, none padded. What
/// a sequence gives has the same bits whatever others there are.
class RaggedForward {
 public:
  /// `model` and `parallel` must outlive it.
  RaggedForward(const ForwardModel& model, const Parallel& parallel);

  /// Given the sequence's number and its last_hidden_state [T, C], or [1, C] where the last
  /// token's row is all that is wanted; it goes with the call.
  using Take = std::function<void(std::size_t sequence, std::span<const float> hidden)>;
  /// Calls `take` for each sequence, in order. Each has one token or more, all in the vocabulary.
  void run(std::span<const std::vector<std::int64_t>> sequences, const Take& take,
           bool last_only = false);

 private:
  void run_step(std::span<const std::vector<std::int64_t>> sequences, std::size_t first,
                const Take& take, bool last_only);

  const ForwardModel& model_;
  const Parallel& parallel_;
  ForwardScratch scratch_;
  Buffer<float> hidden_;
  CacheBlockPool blocks_;  // so that memory which was touched once is used again
  std::vector<std::int64_t> positions_;
};

}  // namespace diffllama
