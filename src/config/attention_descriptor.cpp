#include "config/attention_descriptor.h"

#include <cmath>

namespace diffllama {
namespace {

using Queries = AttentionGeometry::Queries;
using Keys = AttentionGeometry::Keys;

// unilm's V1: pair p is heads 2p and 2p + 1, with keys by head, or by pair (kv_pairs), and a value
// 2d wide.
AttentionGeometry diff_transformer(const ModelConfig& config) {
  const std::int64_t outputs = config.num_attention_heads / 2;
  const std::int64_t values = config.num_key_value_heads / 2;
  const std::int64_t g = outputs / values;
  // Heads i and i + 1 of a pair share a key head when g is even: its g heads are g / 2 pairs. An
  // odd g has pairs with keys of two heads among them.
  const std::int64_t same = config.kv_pairs ? g : g % 2 == 0 ? g / 2 : 1;
  return {.maps = 2,
          .groups = outputs / same,
          .group_heads = same,
          .head_dim = config.head_dim,
          .key_heads = config.num_key_value_heads,
          .value_heads = values,
          .value_columns = 2 * config.head_dim,
          .queries = Queries::adjacent,
          .keys = config.kv_pairs ? Keys::of_pair : Keys::of_query};
}

// unilm's V2: pair p is heads 2p and 2p + 1, both with the key and the value of one KV head.
AttentionGeometry diff_transformer_v2(const ModelConfig& config) {
  return {.maps = 2,
          .groups = config.num_key_value_heads,
          .group_heads = config.num_attention_heads / 2 / config.num_key_value_heads,
          .head_dim = config.head_dim,
          .key_heads = config.num_key_value_heads,
          .value_heads = config.num_key_value_heads,
          .value_columns = config.head_dim,
          .queries = Queries::adjacent};
}

// Grouped differential attention: r signal heads, then the noise head that all of them subtract.
AttentionGeometry motif(const ModelConfig& config) {
  const std::int64_t noise = config.num_noise_heads.value_or(config.num_attention_heads / 2);
  const std::int64_t values = config.num_key_value_heads / 2;
  return {.maps = 2,
          .groups = values,
          .group_heads = (config.num_attention_heads - noise) / values,
          .shared = config.num_attention_heads / noise - 1,
          .head_dim = config.head_dim,
          .key_heads = config.num_key_value_heads,
          .value_heads = values,
          .value_columns = 2 * config.head_dim,
          .queries = Queries::adjacent,
          .keys = Keys::of_pair};
}

}  // namespace

AttentionGeometry AttentionGeometry::of_halves(std::int64_t maps, std::int64_t groups,
                                               std::int64_t group_heads, std::int64_t head_dim) {
  return {.maps = maps,
          .groups = groups,
          .group_heads = group_heads,
          .head_dim = head_dim,
          .key_heads = groups * maps,
          .value_heads = groups,
          .value_columns = maps * head_dim,
          .value_parts = maps};
}

AttentionGeometry AttentionGeometry::of(const ModelConfig& config) {
  return attention_descriptor(config).geometry;
}

double AttentionDescriptor::lambda_init(std::int64_t layer) const {
  if (constant_lambda_init) return *constant_lambda_init;
  return 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(layer + lambda_init_shift));
}

AttentionDescriptor attention_descriptor(const ModelConfig& config) {
  const auto halves = [&](std::int64_t maps) {
    return AttentionGeometry::of_halves(maps, config.num_key_value_heads / maps,
                                        config.num_attention_heads / config.num_key_value_heads,
                                        config.head_dim);
  };
  switch (config.model_type) {
    case ModelType::llama:
      break;
    case ModelType::diffllama:
      return {.geometry = halves(2),
              .lambda = LambdaRule::exponential,
              .norm = HeadNorm::plain,
              .norm_eps = config.rms_norm_eps};
    case ModelType::diff_transformer:
      return {.geometry = diff_transformer(config),
              .lambda = LambdaRule::exponential,
              .constant_lambda_init = config.lambda_init,
              .norm = HeadNorm::weighted,
              .norm_eps = config.subln_eps,
              .interleaved_rotary = config.rope_interleaved};
    case ModelType::diff_transformer_v2:
      return {.geometry = diff_transformer_v2(config),
              .lambda = LambdaRule::sigmoid,
              .interleaved_rotary = config.rope_interleaved};
    case ModelType::motif:
      return {.geometry = motif(config),
              .lambda = LambdaRule::exponential,
              .lambda_init_shift = -1,
              .norm = HeadNorm::weighted,
              .norm_eps = config.subln_eps};
  }
  return {.geometry = halves(1), .qk_norm = config.qk_norm};
}

}  // namespace diffllama
