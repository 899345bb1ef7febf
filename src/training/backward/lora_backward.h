#pragma once

#include <optional>

#include "base/parallel.h"
#include "model/lora_linear.h"
#include "training/backward/gradient_map.h"
#include "training/backward/rows.h"

namespace diffllama {

/// Scratch of one call at a time; grows and is used again.
struct LoraBackwardScratch {
  LoraScratch forward;
  Buffer<float> d_low, d_x;  // [N, rank], [N, in]
};

/// The backward of add_lora (model/lora_linear.cpp): with l = drop(x) A^T, dB += scaling dy^T l,
/// dA += scaling (dy B)^T drop(x), and dx, unless it is null, += the gradient of drop() of scaling
/// (dy B) A. In float32.
void lora_backward(const LoraModule& module, const std::optional<LoraDropout>& dropout,
                   const Rows& x, const Rows& dy, float* dx, GradientMap& gradients,
                   LoraBackwardScratch& scratch, const Parallel& parallel);

}  // namespace diffllama
