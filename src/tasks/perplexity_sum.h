#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/matmul.h"
#include "model/forward.h"
#include "tasks/ragged_forward.h"

namespace diffllama {

/// What diffllama/perplexity.h measures, of a model in parts.
class PerplexitySum {
 public:
  /// Of some predicted tokens the sum of -log p(token).
  struct Sum {
    double negative_log_likelihood = 0;
    std::int64_t tokens = 0;
  };

  /// `model` and `parallel` must outlive it; `stride` is that of PerplexityOptions. Throws
  /// InvalidArgument unless it is a causal LM, and for a stride outside 0..max_position_embeddings.
  PerplexitySum(const ForwardModel& model, const Parallel& parallel, std::int64_t stride = 0);

  /// Adds a document; several go through the model together, without effect on the result. Throws
  /// InvalidArgument for ids outside the vocabulary, Error when the logits are not numbers.
  void add(std::span<const std::int64_t> ids);

  std::int64_t documents() const { return documents_; }
  /// Tokens predicted, and the sum of -log p(token), over all documents added.
  std::int64_t tokens();
  double negative_log_likelihood();
  /// Throws InvalidArgument when no token was predicted.
  double value();
  /// Of each document added since the last call.
  std::vector<Sum> take_documents();

 private:
  // A part of a document that waits to be computed.
  struct Window {
    std::size_t predicted;  // its first token that is
    std::size_t document;   // of those that were not taken
  };
  void flush();
  void score(const std::vector<std::int64_t>& ids, const Window& window,
             std::span<const float> hidden);

  const ForwardModel& model_;
  const Parallel& parallel_;
  std::size_t window_, stride_;
  std::int64_t documents_ = 0;
  Sum total_;
  std::vector<Sum> not_taken_;

  std::vector<std::vector<std::int64_t>> waiting_;
  std::vector<Window> windows_;  // of each
  std::int64_t waiting_tokens_ = 0;
  RaggedForward forward_;
  Buffer<float> logits_;
  ActivationRows rows_;
};

}  // namespace diffllama
