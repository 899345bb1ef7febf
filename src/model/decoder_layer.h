#pragma once

#include <cstdint>
#include <span>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "model/diffllama_model.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace diffllama {

/// A layer of the stack, const.
struct DecoderLayer {
  const ModelConfig& config;
  const AttentionGeometry& geometry;
  const LayerWeights& weights;
  ProductType product_type;
  std::int64_t number;
  const PackedMatrix* next;  // the first weight after this layer's; empty where there is none
};

/// x = x + o_proj(attention(RMSNorm(x))); x = x + down_proj(act(gate_proj(RMSNorm(x))) *
/// up_proj(RMSNorm(x))) for the rows of scratch.x, those of `pieces`, whose caches take their keys
/// and values. `kept`: where backward finds what it reads of this layer, but for its input; or
/// null.
void decoder_layer(const DecoderLayer& layer, std::span<const StepPiece> pieces,
                   ForwardScratch& scratch, LayerActivations* kept, const Parallel& parallel);

}  // namespace diffllama
