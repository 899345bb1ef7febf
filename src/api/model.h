#pragma once

#include <memory>
#include <string>

#include "base/parallel.h"
#include "diffllama/model.h"
#include "model/forward.h"
#include "model/load_weights.h"

namespace diffllama {

struct [[gnu::visibility("hidden")]] KVCache::Impl {
  BatchState state;
};

struct [[gnu::visibility("hidden")]] Model::Impl {
  ModelConfig config;
  LoadOptions options;
  Parallel parallel;
  Parameters parameters;
  ModelWeights weights;
  std::unique_ptr<const DiffLlamaModel> stack;

  /// files: where the parameters are stored, for a packed copy beside them; or null.
  Impl(ModelConfig model_config, Parameters model_parameters, const LoadOptions& load_options,
       const ModelFiles* files = nullptr);
  /// Packs the parameters again, after they changed.
  void pack(const ModelFiles* files = nullptr);
  ForwardOutput forward_with_gradients(const ForwardInputs& inputs) const;
  ForwardModel forward_model() const {
    return {.config = config, .weights = weights, .stack = *stack};
  }
};

}  // namespace diffllama
