#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/buffer.h"
#include "base/parallel.h"
#include "checkpoint/adapter/lora_adapter.h"

namespace diffllama {

/// A LoRA module that stays apart from the weight it changes, as in training: y = x W^T + scaling
/// (drop(x) A^T) B^T.
struct LoraModule {
  std::string module;  // its path, "model.layers.0.self_attn.q_proj"
  LoraMatrices matrices;
  std::uint64_t stream = 0;  // its number among the model's: which random numbers drop its inputs
};

/// Dropout of the modules' inputs: a value is zero with this probability, else 1 / (1 -
/// probability) times itself; which are is a function of (seed, module, row, column) alone.
struct LoraDropout {
  std::uint64_t seed = 0;
  double probability = 0;
};

/// Scratch of one product at a time; grows and is used again.
struct LoraScratch {
  Buffer<float> x, low;  // [N, in], [N, rank]
};

/// drop(x) of N rows, in scratch; x itself where nothing is dropped.
const float* lora_input(const LoraModule& module, const std::optional<LoraDropout>& dropout,
                        const float* x, std::int64_t rows, LoraScratch& scratch,
                        const Parallel& parallel);

/// Multiplies rows [N, in] by what drop() multiplied them by: the gradient of drop().
void lora_drop(const LoraModule& module, const LoraDropout& dropout, float* x, std::int64_t rows,
               const Parallel& parallel);

/// scaling x A^T [N, rank] of N rows that lora_input() gave, in scratch.
float* lora_low(const LoraMatrices& lora, const float* dropped, std::int64_t rows,
                LoraScratch& scratch, const Parallel& parallel);

/// y += scaling (drop(x) A^T) B^T for N rows of x [N, in], y [N, out]. In float32 (kernels/gemm.h);
/// threads change no bit, other rows beside a row may.
void add_lora(const LoraModule& module, const std::optional<LoraDropout>& dropout, const float* x,
              std::int64_t rows, float* y, LoraScratch& scratch, const Parallel& parallel);

}  // namespace diffllama
