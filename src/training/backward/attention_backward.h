#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "model/attention.h"
#include "model/kv_cache.h"

namespace diffllama {

/// One sequence in the backward of an attention layer: what its forward took, kept and gave, and
/// the gradients. T tokens, all of which were new (nothing came from a cache before).
struct AttentionGradientInput {
  std::int64_t tokens = 0;
  const float* queries = nullptr;       // [T, H, d], rotated
  const float* keys = nullptr;          // [T, K, d], rotated
  const float* values = nullptr;        // [T, K d]
  const float* lambdas = nullptr;       // [T, output heads], or null: the layer's
  const std::int64_t* slots = nullptr;  // key s came from the token with slots[t] == s; -1: none
  const std::int64_t* key_limit = nullptr;  // token t sees keys [0, key_limit[t])
  const std::uint8_t* mask = nullptr;       // or those with mask[t * mask_stride + s] != 0
  std::int64_t mask_stride = 0;
  const float* reciprocal_rms = nullptr;  // [T, output heads]
  const float* output = nullptr;          // [T, output heads, value_columns]
  const float* before_norm = nullptr;     // as output, where the per-head norm has weights
  const float* d_output = nullptr;        // as output
  float* d_queries = nullptr;             // [T, H, d], written
  float* d_keys = nullptr;                // [T, K, d], written
  float* d_values = nullptr;              // [T, K d], written
  float* d_lambdas = nullptr;             // as lambdas, written
};

/// The gradients of a layer's own numbers.
struct DifferentialGradients {
  double lambda = 0;                     // of the layer's, where it is one number
  std::vector<double> norm_weight = {};  // [value_columns], where the per-head norm has weights
};

/// Scratch of a thread; grows with the length of the sequence, never with its square.
struct AttentionBackwardScratch {
  struct Worker {
    Buffer<float> keys, values, d_keys, d_values;  // of one group: [maps, S, d], [S, columns]
    Buffer<float> queries, d_queries, d_rows;      // of a tile: [maps, rows, d], [rows, columns]
    Buffer<float> maps, d_p, p;                    // [maps, rows, S], [rows, S], [rows, S]
  };
  std::vector<Worker> workers;
  std::vector<DifferentialGradients> parts;  // of each sequence and value head
};

/// The backward of attention() (model/attention.cpp), always in float32. Scores are computed again
/// from queries and keys, a tile of query rows at a time, and their softmax with them: a row of it
/// then sums to 1 whatever the forward's rounding was.
/// With P = A_1 - lambda A_2 and G = d P = d out V^T: d V = P^T d out; d A_1 = G, d A_2 = -lambda
/// G; d S = A (d A - rowsum(A d A)); d lambda = -sum(A_2 G). Before that, through the per-head
/// norm.
///
/// The groups that read one value head of a sequence are one task, since they add to the same keys
/// and values, in ascending order; inside a group sums over query rows go by tiles in ascending
/// order, and the layer's own gradients are added up by sequence and value head: threads change no
/// bit.
///
/// NaN or infinity in any row makes gradients NaN, those of keys and values that no such row sees
/// too: the weights' gradients, sums over all rows, are NaN then in any case, as in torch.
DifferentialGradients attention_backward(const AttentionGeometry& geometry,
                                         const DifferentialParameters& differential,
                                         const std::vector<AttentionGradientInput>& sequences,
                                         AttentionBackwardScratch& scratch,
                                         const Parallel& parallel);

}  // namespace diffllama
