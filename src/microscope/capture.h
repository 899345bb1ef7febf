#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/parallel.h"
#include "diffllama/tensor.h"
#include "model/forward.h"

namespace diffllama {

/// What a layer did on a text of T tokens; borrowed while the callback runs.
struct CapturedLayer {
  std::int64_t number = 0;
  const Tensor& maps;    // [H, T, T], as ForwardOutput::attentions
  const Tensor& logits;  // [H, T, T], q.k / sqrt(d) where a token may look, else 0
  /// [T, output heads], where lambda goes by token; else empty, and `lambda` is the layer's.
  std::span<const float> lambdas;
  float lambda = 0;
  std::span<const float> output;  // [T, C], the residual stream behind the layer
};

/// Runs the stack on one text and shows its layers in order, a layer's maps at a time: first
/// forward without maps, keeping what enters each layer, then each layer again with them. Throws
/// InvalidArgument for ids outside the vocabulary, or none.
void capture_layers(const ForwardModel& model, std::span<const std::int64_t> ids,
                    const Parallel& parallel,
                    const std::function<void(const CapturedLayer&)>& show);

}  // namespace diffllama
