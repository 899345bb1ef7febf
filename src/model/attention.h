#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "model/kv_cache.h"

namespace diffllama {

/// Where the softmax maps of one sequence go when they are asked for: maps[h][t][s] of [H, T, S] of
/// one batch row, zero where nothing is written.
struct AttentionMaps {
  float* maps = nullptr;
  float* logits = nullptr;                    // with maps: q.k / sqrt(d) in their places, or null
  std::int64_t tokens = 0;                    // T
  std::int64_t keys = 0;                      // S
  std::int64_t first_token = 0;               // row of this step's first token
  const std::int64_t* key_columns = nullptr;  // column of each cached key
};

/// One sequence's new tokens in an attention layer.
struct AttentionInput {
  const SequenceCache* cache = nullptr;
  std::int64_t tokens = 0;
  const float* queries = nullptr;           // [tokens, H, d], rotated
  const std::int64_t* key_limit = nullptr;  // token t sees keys [0, key_limit[t])
  const std::uint8_t* mask =
      nullptr;  // or: token t sees the keys s with mask[t * mask_stride + s] != 0
  std::int64_t mask_stride = 0;
  /// In place of the layer's lambda: a number for each token and output head, or null.
  const float* lambdas = nullptr;
  float* output = nullptr;  // [tokens, output heads, value_columns]
  AttentionMaps maps = {};
  /// Where wanted (backward reads them): 1 / sqrt(mean square + eps) of what enters the per-head
  /// norm, [tokens, output heads], and what enters it, as output.
  float* reciprocal_rms = nullptr;
  float* before_norm = nullptr;
};

/// What the layer's own numbers are: lambda of equation 2 of arXiv 2410.05258, and the per-head
/// norm. Unused by plain attention.
struct DifferentialParameters {
  float lambda = 0;
  bool norm = false;
  float output_scale = 1;  // 1 - lambda_init
  float eps = 0;
  std::vector<float> norm_weight = {};  // [value_columns], or empty
};

/// exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + lambda_init, in float32 as
/// transformers does it; vectors of d.
float differential_lambda(const float* q1, const float* k1, const float* q2, const float* k2,
                          std::int64_t d, double lambda_init);

/// Scratch memory of attention, grown as needed and kept. Exponentials of scores take rows of a
/// tile x maps x keys x 4 bytes, or 2 with bfloat16 products.
struct AttentionScratch {
  /// Of a tile: the query rows of one group that are computed together.
  struct Tile {
    Buffer<float> queries, exponentials, tops, sums, weights, output;
    Buffer<std::uint16_t> rounded_queries, rounded_exponentials;
  };
  /// Of a thread, inside a block of keys.
  struct Worker {
    Buffer<float> scores, p;
    Buffer<std::uint16_t> rounded_p, expanded;
    Buffer<std::byte> visible;  // only where values are NaN or infinite
  };
  std::vector<Tile> tiles;
  std::vector<Worker> workers;
};

/// Attention of all sequences of a step in one layer, reading keys and values from their caches.
///
/// For each output head p: A_m = softmax(q_m k_m^T / sqrt(d)), m < maps, with the queries and keys
/// that `geometry` names; P = A_1 - lambda A_2 (or A_1 alone); out_p = P v, its value read once;
/// then the per-head norm where there is one: (1 - lambda_init) RMSNorm(out_p).
///
/// In P the second product is fused into the sum. With lambda by token both are rounded first, in
/// float32: with equal maps and lambda 1/2, P is exactly half of a map.
///
/// Order of sums: scores and P V as panel_product.h says, the softmax as elementwise.h says, both
/// over blocks of 256 keys in ascending order. So a token's output does not depend on the tokens
/// beside it, nor on the threads that share its keys. With bfloat16 products queries and P are
/// rounded to bfloat16, after exponentials were to float16. A token that sees no key has zero maps
/// and zero output.
///
/// What a token may not see never reaches it, NaN and infinity included: where such values would
/// meet a weight of zero, tokens are multiplied one by one, without what they may not see
/// (attention_visible.h). What a token sees counts by IEEE's rules, 0 times NaN too.
void attention(const AttentionGeometry& geometry, const DifferentialParameters& differential,
               std::int64_t layer, const std::vector<AttentionInput>& sequences,
               AttentionScratch& scratch, const Parallel& parallel);

}  // namespace diffllama
