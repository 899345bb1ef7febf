#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "checkpoint/checkpoint.h"
#include "diffllama/config.h"
#include "model/diffllama_model.h"
#include "model/forward.h"
#include "model/parameters.h"
#include "model/weights.h"

namespace diffllama {

/// A whole model for tests, put together from the parts below api/.
class TestModel {
 public:
  TestModel(ModelConfig config, const Parameters& parameters, int threads = 1,
            std::int64_t prefill_chunk = 512)
      : config_(std::move(config)),
        parallel_(threads),
        weights_(pack_weights(config_, parameters, ComputeType::float32, parallel_)),
        stack_(config_, weights_, prefill_chunk) {}
  TestModel(const TestModel&) = delete;
  TestModel& operator=(const TestModel&) = delete;

  static std::unique_ptr<TestModel> open(const std::string& path) {
    const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(path));
    return std::make_unique<TestModel>(checkpoint->config(), stored_parameters(checkpoint), 2);
  }
  /// A small one with weights large enough that logits differ by much.
  static ModelConfig small_config() {
    ModelConfig config;
    config.vocab_size = 61;
    config.hidden_size = 24;
    config.intermediate_size = 40;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.head_dim = 6;
    config.max_position_embeddings = 64;
    config.initializer_range = 0.3;
    return config;
  }

  ForwardModel forward_model() const {
    return {.config = config_, .weights = weights_, .stack = stack_};
  }
  const Parallel& parallel() const { return parallel_; }
  const ModelConfig& config() const { return config_; }

 private:
  ModelConfig config_;
  Parallel parallel_;
  ModelWeights weights_;
  DiffLlamaModel stack_;
};

}  // namespace diffllama
