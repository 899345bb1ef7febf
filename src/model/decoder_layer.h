#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "config/attention_descriptor.h"
#include "diffllama/config.h"
#include "kernels/matmul.h"
#include "model/activation_tape.h"
#include "model/attention.h"
#include "model/lora_linear.h"
#include "model/sequence_step.h"
#include "model/weights.h"

namespace diffllama {

/// A layer of the stack, const.
struct DecoderLayer {
  const ModelConfig& config;
  const AttentionDescriptor& attention;
  const LayerWeights& weights;
  ProductType product_type;
  std::int64_t number;
  const PackedMatrix* next;  // the first weight after this layer's; empty where there is none
  std::optional<LoraDropout> lora_dropout = {};  // while an adapter is trained
};

/// Memory that layers use one after another; grows to the largest chunk and is used again.
struct LayerScratch {
  Buffer<float> x;  // [N, C], the residual stream
  Buffer<float> normed, activated;
  Buffer<float> mapped;          // [N, d], a head's W o of DEX
  LayerActivations activations;  // of layers whose activations are not kept
  ActivationRows rows;
  LoraScratch lora;
  AttentionScratch attention;
  std::vector<AttentionInput> inputs;
};

/// x = x + o_proj(attention(RMSNorm(x))); x = x + down_proj(act(gate_proj(RMSNorm(x))) *
/// up_proj(RMSNorm(x))) for the rows of scratch.x, those of `rows`, whose caches take their keys
/// and values. `kept`: where backward finds what it reads of this layer, but for its input; or
/// null. `wanted`, without `kept`: these rows alone are computed to the end, and lie in scratch.x
/// one behind the other; or null.
void decoder_layer(const DecoderLayer& layer, const StepRows& rows, const WantedRows* wanted,
                   LayerScratch& scratch, LayerActivations* kept, const Parallel& parallel);

}  // namespace diffllama
