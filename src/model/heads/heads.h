#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"
#include "model/weights.h"

namespace diffllama {

/// What a head works on. B batch, T tokens, C hidden_size, E examples.
struct HeadContext {
  const ModelConfig& config;
  const ModelWeights& weights;
  const ForwardInputs& inputs;
  const Tensor& last_hidden_state;             // float32 [B, T, C]
  std::span<const std::int64_t> example_ends;  // [E], in the rows' concatenation
  const Parallel& parallel;
};

/// Each sets the members of ForwardOutput that docs/model.md "Heads" gives its class, the loss when
/// labels were given. Throws InvalidArgument for labels of the wrong shape, dtype or range.
void causal_lm_head(const HeadContext& context, ForwardOutput& output);
void sequence_classification_head(const HeadContext& context, ForwardOutput& output);
void question_answering_head(const HeadContext& context, ForwardOutput& output);
void token_classification_head(const HeadContext& context, ForwardOutput& output);

/// The one that config.architecture names; the base model gives last_hidden_state.
void apply_head(const HeadContext& context, ForwardOutput& output);

/// y = x head^T + bias for `rows` rows of x [rows, C]; y [rows, head.n()]. `dropout` is that of an
/// adapter in training.
void head_product(const ModelWeights& weights, const float* x, std::int64_t rows, float* y,
                  ActivationRows& scratch, const Parallel& parallel,
                  const std::optional<LoraDropout>& dropout = std::nullopt);

}  // namespace diffllama
