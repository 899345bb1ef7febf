#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "diffllama/model.h"

namespace [[gnu::visibility("default")]] diffllama {

struct PerplexityOptions {
  /// Tokens from the begin of one window to that of the next, at most max_position_embeddings;
  /// fewer give what is predicted more context, and cost more. 0: max_position_embeddings, windows
  /// that do not overlap.
  std::int64_t stride = 0;
};

/// exp of the mean negative log-likelihood over all predicted tokens of some documents, each
/// document alone: its tokens are cut into windows of max_position_embeddings, each token is
/// predicted in the first window that holds it, and the first token of a window is not predicted.
class Perplexity {
 public:
  struct Result {
    double perplexity = 0;
    double negative_log_likelihood = 0;  // mean over the predicted tokens
    std::int64_t tokens = 0;             // predicted
    std::int64_t documents = 0;          // added
  };

  /// `model` must outlive it. Throws InvalidArgument unless it is a causal LM and the stride one of
  /// its windows allows.
  explicit Perplexity(const Model& model, const PerplexityOptions& options = {});
  ~Perplexity();
  Perplexity(Perplexity&&) noexcept;
  Perplexity& operator=(Perplexity&&) noexcept;

  /// Adds a document's token ids; several go through the model together, without effect on the
  /// result. Throws InvalidArgument for ids outside the vocabulary, Error when the logits are not
  /// numbers.
  void add(std::span<const std::int64_t> ids);
  /// Of all documents so far. Throws InvalidArgument when no token was predicted.
  Result result();
  /// Of each document added since the last call, in order; NaN where no token was predicted.
  std::vector<Result> documents();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
