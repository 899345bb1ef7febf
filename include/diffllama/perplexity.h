#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "diffllama/model.h"

namespace [[gnu::visibility("default")]] diffllama {

/// exp of the mean negative log-likelihood over all predicted tokens of some documents, each
/// document alone: its tokens are cut into windows of max_position_embeddings that do not overlap,
/// and the first token of a window is not predicted.
class Perplexity {
 public:
  struct Result {
    double perplexity = 0;
    double negative_log_likelihood = 0;  // mean over the predicted tokens
    std::int64_t tokens = 0;             // predicted
    std::int64_t documents = 0;          // added
  };

  /// `model` must outlive it. Throws InvalidArgument unless it is a causal LM.
  explicit Perplexity(const Model& model);
  ~Perplexity();
  Perplexity(Perplexity&&) noexcept;
  Perplexity& operator=(Perplexity&&) noexcept;

  /// Adds a document's token ids; several go through the model together, without effect on the
  /// result. Throws InvalidArgument for ids outside the vocabulary, Error when the logits are not
  /// numbers.
  void add(std::span<const std::int64_t> ids);
  /// Of all documents so far. Throws InvalidArgument when no token was predicted.
  Result result();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
