#pragma once

#include <memory>

#include "base/parallel.h"
#include "diffllama/model.h"
#include "model/forward.h"

namespace diffllama {

struct KVCache::Impl {
  BatchState state;
};

struct Model::Impl {
  ModelConfig config;
  LoadOptions options;
  Parallel parallel;
  Parameters parameters;
  ModelWeights weights;
  std::unique_ptr<const DiffLlamaModel> stack;

  Impl(ModelConfig model_config, Parameters model_parameters, const LoadOptions& load_options);
  /// Packs the parameters again, after they changed.
  void pack();
  ForwardModel forward_model() const {
    return {.config = config, .weights = weights, .stack = *stack};
  }
};

}  // namespace diffllama
