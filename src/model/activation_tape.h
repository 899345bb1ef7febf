#pragma once

#include <optional>
#include <vector>

#include "base/buffer.h"
#include "model/lora_linear.h"
#include "model/sequence_step.h"

namespace diffllama {

/// What a decoder layer computes on its way, of N tokens.
struct LayerActivations {
  Buffer<float> queries, keys, values;  // [N, H, d], [N, K, d], [N, K d]; the first two rotated
  Buffer<float> lambdas;                // [N, output heads], where lambda goes by token
  Buffer<float> attended;               // [N, output heads, value_columns], what o_proj takes
  Buffer<float> gate, up;               // [N, F]
  // The rest is written for backward only.
  Buffer<float> input, middle;   // [N, C], the residual stream before and after attention
  Buffer<float> reciprocal_rms;  // [N, output heads], as AttentionInput has it, with a norm
  Buffer<float> before_norm;     // as attended, where the per-head norm has weights
  Buffer<float> before_dex;      // as attended, before DEX changed it, where it does
  Buffer<float> raw_queries,
      raw_keys;  // as queries and keys, before their norm, where they have one
};

/// What a forward hands over to backward. Buffers grow to the largest batch and are used again.
struct ActivationTape {
  // Set before the forward:
  /// Only LayerActivations::input: DiffLlamaModel::replay() makes the rest of a layer again.
  bool inputs_only = false;
  std::optional<LoraDropout> lora_dropout;  // while an adapter is trained

  // Filled in by it:
  StepRows rows;  // of all steps, which must outlive the tape's use
  std::vector<LayerActivations> layers;
  Buffer<float> last;    // [N, C], what enters the final norm
  Buffer<float> normed;  // [N, C], what leaves it
};

}  // namespace diffllama
