#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/matmul.h"
#include "model/forward.h"

namespace diffllama {

/// What diffllama/perplexity.h measures, of a model in parts.
class PerplexitySum {
 public:
  /// `model` and `parallel` must outlive it. Throws InvalidArgument unless it is a causal LM.
  PerplexitySum(const ForwardModel& model, const Parallel& parallel);

  /// Adds a document; several go through the model together, without effect on the result. Throws
  /// InvalidArgument for ids outside the vocabulary, Error when the logits are not numbers.
  void add(std::span<const std::int64_t> ids);

  std::int64_t documents() const { return documents_; }
  /// Tokens predicted, and the sum of -log p(token), over all documents added.
  std::int64_t tokens();
  double negative_log_likelihood();
  /// Throws InvalidArgument when no token was predicted.
  double value();

 private:
  void flush();
  void score_windows(std::span<const float> hidden);

  const ForwardModel& model_;
  const Parallel& parallel_;
  std::int64_t documents_ = 0;
  std::int64_t tokens_ = 0;
  double sum_ = 0;

  std::vector<std::vector<std::int64_t>> windows_;  // that wait to be computed
  std::int64_t waiting_tokens_ = 0;
  ForwardScratch scratch_;
  Buffer<float> hidden_, logits_;
  ActivationRows rows_;
};

}  // namespace diffllama
