#pragma once

#include <cstdint>
#include <optional>

#include "diffllama/config.h"

namespace diffllama {

/// Which queries, keys and values make the output heads of an attention layer (docs/variants.md).
/// Query heads, key heads and value heads count as the rows of q_proj, k_proj and v_proj lie in the
/// checkpoint. Output heads come in groups of `group_heads`, one behind the other, that read the
/// same keys and the same value: a tile of attention is a group.
struct AttentionGeometry {
  /// Where the query heads of output head p stand.
  enum class Queries {
    halves,    // map m: p + m outputs
    adjacent,  // runs of `shared` first maps and the second map that they share, behind them
  };
  /// Which key head map m of output head p reads.
  enum class Keys {
    of_query,  // query head / (query heads / key heads)
    of_pair,   // member m of the pair that the value of p counts
  };

  std::int64_t maps = 1;    // softmax maps that make one output head: 2, or 1 for a Llama
  std::int64_t groups = 0;  // of output heads
  std::int64_t group_heads = 0;
  std::int64_t shared = 1;  // output heads, one behind the other, that share a second map
  std::int64_t head_dim = 0;
  std::int64_t key_heads = 0;      // K
  std::int64_t value_heads = 0;    // each read by as many output heads, one behind the other
  std::int64_t value_columns = 0;  // width of a value head, and of an output head
  std::int64_t value_parts = 1;  // of a value head, each as wide; part i of value head v stands in
                                 // place v + i value_heads of v_proj's rows
  Queries queries = Queries::halves;
  Keys keys = Keys::of_query;

  static AttentionGeometry of(const ModelConfig& config);
  /// DiffLlama's (2 maps) or Llama's (1) of so many groups of `group_heads` output heads.
  static AttentionGeometry of_halves(std::int64_t maps, std::int64_t groups,
                                     std::int64_t group_heads, std::int64_t head_dim);

  std::int64_t output_heads() const { return groups * group_heads; }
  std::int64_t query_heads() const {  // H
    return output_heads() + (maps == 2 ? output_heads() / shared : 0);
  }
  std::int64_t query_width() const { return query_heads() * head_dim; }
  std::int64_t key_width() const { return key_heads * head_dim; }
  std::int64_t value_width() const { return value_heads * value_columns; }
  std::int64_t output_width() const { return output_heads() * value_columns; }  // what o_proj takes

  /// Rows that map m of a group has for each token.
  std::int64_t map_heads(std::int64_t map) const {
    return map == 0 ? group_heads : group_heads / shared;
  }
  /// Which of them output head `head` of the group reads.
  std::int64_t map_head(std::int64_t map, std::int64_t head) const {
    return map == 0 ? head : head / shared;
  }
  /// The query head of map m of output head p.
  std::int64_t query_of(std::int64_t p, std::int64_t map) const {
    if (queries == Queries::halves) return p + map * output_heads();
    return p / shared * (shared + 1) + (map == 0 ? p % shared : shared);
  }
  /// The query head of row `row` of map m of a group.
  std::int64_t query_head(std::int64_t group, std::int64_t map, std::int64_t row) const {
    return query_of(group * group_heads + (map == 0 ? row : row * shared), map);
  }
  /// What all output heads of a group read.
  std::int64_t value_head(std::int64_t group) const { return group * value_heads / groups; }
  std::int64_t key_head(std::int64_t group, std::int64_t map) const {
    if (keys == Keys::of_pair) return 2 * value_head(group) + map;
    return query_of(group * group_heads, map) / (query_heads() / key_heads);
  }
  /// Where column `column` of value head `head` lies in a row of v_proj's outputs; the columns up
  /// to the next multiple of value_columns / value_parts follow it.
  std::int64_t value_column(std::int64_t head, std::int64_t column) const {
    const std::int64_t part = value_columns / value_parts;
    return (head + column / part * value_heads) * part + column % part;
  }
};

/// What the second map is multiplied by.
enum class LambdaRule {
  none,         // there is one map
  exponential,  // exp(q1.k1) - exp(q2.k2) + lambda_init, a number a layer
  sigmoid,      // sigmoid(lambda_proj x), a number for each token and output head
};

/// The RMSNorm of each output head, times 1 - lambda_init.
enum class HeadNorm { none, plain, weighted };

/// All in which the attention of the family's members differs, as data: a member is what
/// attention_descriptor() makes of its config.
struct AttentionDescriptor {
  AttentionGeometry geometry;
  LambdaRule lambda = LambdaRule::none;
  std::int64_t lambda_init_shift = 0;
  std::optional<double> constant_lambda_init = {};
  HeadNorm norm = HeadNorm::none;
  double norm_eps = 0;
  bool interleaved_rotary = false;  // pairs are (2i, 2i + 1), else (i, i + d/2)
  bool qk_norm = false;             // RMSNorm of each q and k head before the rotary embedding

  /// 0.8 - 0.6 exp(-0.3 (layer + lambda_init_shift)), layer from 0; or the constant.
  double lambda_init(std::int64_t layer) const;
};

/// The table of members. The config must be valid.
AttentionDescriptor attention_descriptor(const ModelConfig& config);

}  // namespace diffllama
