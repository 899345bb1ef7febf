#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "diffllama/config.h"
#include "training/data/example_source.h"

namespace diffllama {

/// Tests alone use this: a DiffLlama of two layers, and a vocabulary of 19, that learns in moments.
inline ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 19;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 16;
  config.initializer_range = 0.2;
  return config;
}

/// Tests alone use this: sequences for it that count upwards from a start, easy to learn.
class CountingSource : public ExampleSource {
 public:
  static constexpr std::int64_t kLength = 8;

  explicit CountingSource(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  std::int64_t tokens(std::int64_t /*example*/) const override { return kLength; }
  ForwardInputs collate(std::span<const std::int64_t> examples) const override {
    Tensor ids(DType::int64, {std::ssize(examples), kLength});
    for (std::int64_t i = 0; i < ids.size(); ++i) {
      const std::int64_t example = examples[static_cast<std::size_t>(i / kLength)];
      ids.i64()[static_cast<std::size_t>(i)] = (example * 5 + i % kLength) % 19;
    }
    ForwardInputs inputs;
    inputs.labels = ids;
    inputs.input_ids = std::move(ids);
    return inputs;
  }

 private:
  std::int64_t size_;
};

}  // namespace diffllama
