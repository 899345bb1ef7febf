#include "config/attention_descriptor.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "config/model_config.h"

namespace diffllama {
namespace {

// What an output head reads: a row of the table of docs/variants.md.
struct Sources {
  std::vector<std::int64_t> queries = {}, keys = {};
  std::int64_t value = 0;
  friend bool operator==(const Sources&, const Sources&) = default;
};

std::vector<Sources> sources(const AttentionGeometry& geometry) {
  std::vector<Sources> result;
  for (std::int64_t g = 0; g < geometry.groups; ++g) {
    for (std::int64_t head = 0; head < geometry.group_heads; ++head) {
      Sources out;
      out.value = geometry.value_head(g);
      for (std::int64_t map = 0; map < geometry.maps; ++map) {
        out.queries.push_back(geometry.query_head(g, map, geometry.map_head(map, head)));
        out.keys.push_back(geometry.key_head(g, map));
      }
      result.push_back(out);
    }
  }
  return result;
}

ModelConfig config_of(ModelType type, std::int64_t heads, std::int64_t key_heads) {
  ModelConfig config = default_config(type);
  config.num_attention_heads = heads;
  config.num_key_value_heads = key_heads;
  config.head_dim = 8;
  config.hidden_size = heads * 8;
  return config;
}

std::vector<Sources> sources_of(const ModelConfig& config) {
  validate(config);
  const AttentionDescriptor attention = attention_descriptor(config);
  EXPECT_EQ(attention.geometry.query_heads(), config.num_attention_heads);
  EXPECT_EQ(attention.geometry.key_heads, config.num_key_value_heads);
  EXPECT_EQ(attention.geometry.value_width(), config.num_key_value_heads * config.head_dim);
  return sources(attention.geometry);
}

constexpr std::array<std::array<std::int64_t, 2>, 6> kPairedHeads = {
    {{4, 2}, {4, 4}, {8, 2}, {12, 4}, {6, 2}, {20, 4}}};  // H and K: g is 2, 1, 4, 3, 3 and 5

TEST(AttentionDescriptor, DiffLlamaPairsHalves) {
  for (const auto [heads, keys] : kPairedHeads) {
    const std::int64_t g = heads / keys;
    std::vector<Sources> wanted;
    for (std::int64_t p = 0; p < heads / 2; ++p) {
      wanted.push_back({{p, p + heads / 2}, {p / g, (p + heads / 2) / g}, p / g % (keys / 2)});
    }
    const ModelConfig config = config_of(ModelType::diffllama, heads, keys);
    EXPECT_EQ(sources_of(config), wanted) << heads << " heads, " << keys << " key heads";
    const AttentionGeometry geometry = AttentionGeometry::of(config);
    EXPECT_EQ(geometry.value_column(0, 7), 7);
    EXPECT_EQ(geometry.value_column(0, 8), keys / 2 * 8);  // v_{j + K/2}
  }
}

TEST(AttentionDescriptor, LlamaHasOneMap) {
  EXPECT_EQ(sources_of(config_of(ModelType::llama, 4, 2)),
            (std::vector<Sources>{{{0}, {0}, 0}, {{1}, {0}, 0}, {{2}, {1}, 1}, {{3}, {1}, 1}}));
}

TEST(AttentionDescriptor, UnilmV1PairsNeighbours) {
  for (const auto [heads, keys] : kPairedHeads) {
    for (const bool kv_pairs : {false, true}) {
      const std::int64_t g = heads / keys;
      std::vector<Sources> wanted;
      for (std::int64_t p = 0; p < heads / 2; ++p) {
        const std::int64_t first = kv_pairs ? 2 * (p / g) : 2 * p / g;
        const std::int64_t second = kv_pairs ? first + 1 : (2 * p + 1) / g;
        wanted.push_back({{2 * p, 2 * p + 1}, {first, second}, p / g});
      }
      ModelConfig config = config_of(ModelType::diff_transformer, heads, keys);
      config.kv_pairs = kv_pairs;
      EXPECT_EQ(sources_of(config), wanted)
          << heads << " heads, " << keys << " key heads, kv_pairs " << kv_pairs;
      EXPECT_EQ(AttentionGeometry::of(config).value_column(0, 15), 15);  // 2d in one piece
    }
  }
}

TEST(AttentionDescriptor, V2SharesKeys) {
  for (const auto [heads, keys] : {std::array<std::int64_t, 2>{8, 2}, {12, 3}, {6, 1}, {4, 2}}) {
    std::vector<Sources> wanted;
    for (std::int64_t p = 0; p < heads / 2; ++p) {
      const std::int64_t kv = p / (heads / 2 / keys);
      wanted.push_back({{2 * p, 2 * p + 1}, {kv, kv}, kv});
    }
    EXPECT_EQ(sources_of(config_of(ModelType::diff_transformer_v2, heads, keys)), wanted);
  }
}

TEST(AttentionDescriptor, MotifSharesNoiseHeads) {
  struct Heads {
    std::int64_t heads, keys, noise;
  };
  for (const Heads& shape : {Heads{40, 16, 8}, {10, 2, 2}, {12, 4, 4}, {8, 4, 4}, {16, 2, 8}}) {
    const std::int64_t r = shape.heads / shape.noise - 1;
    std::vector<Sources> wanted;
    for (std::int64_t j = 0; j < shape.noise; ++j) {
      const std::int64_t i = j / (shape.noise / (shape.keys / 2));
      for (std::int64_t s = 0; s < r; ++s) {
        wanted.push_back({{j * (r + 1) + s, j * (r + 1) + r}, {2 * i, 2 * i + 1}, i});
      }
    }
    ModelConfig config = config_of(ModelType::motif, shape.heads, shape.keys);
    config.num_noise_heads = shape.noise;
    EXPECT_EQ(sources_of(config), wanted) << shape.heads << " heads";
    EXPECT_EQ(AttentionGeometry::of(config).shared, r);
  }
  ModelConfig pairs = config_of(ModelType::motif, 8, 4);  // Motif-2.6B's kind
  const std::vector<Sources> wanted = {
      {{0, 1}, {0, 1}, 0}, {{2, 3}, {0, 1}, 0}, {{4, 5}, {2, 3}, 1}, {{6, 7}, {2, 3}, 1}};
  EXPECT_EQ(sources_of(pairs), wanted);
}

TEST(AttentionDescriptor, RulesOfEachMember) {
  ModelConfig config = config_of(ModelType::diffllama, 4, 2);
  config.rms_norm_eps = 0.25;
  config.subln_eps = 0.5;
  const auto of = [&](ModelType type) {
    config.model_type = type;
    return attention_descriptor(config);
  };
  const AttentionDescriptor diffllama = of(ModelType::diffllama);
  EXPECT_EQ(diffllama.lambda, LambdaRule::exponential);
  EXPECT_EQ(diffllama.norm, HeadNorm::plain);
  EXPECT_EQ(diffllama.norm_eps, 0.25);
  EXPECT_DOUBLE_EQ(diffllama.lambda_init(0), 0.8 - 0.6);
  EXPECT_DOUBLE_EQ(diffllama.lambda_init(3), 0.8 - 0.6 * std::exp(-0.9));
  EXPECT_FALSE(diffllama.interleaved_rotary);
  const AttentionDescriptor v1 = of(ModelType::diff_transformer);
  EXPECT_EQ(v1.lambda, LambdaRule::exponential);
  EXPECT_EQ(v1.norm, HeadNorm::weighted);
  EXPECT_EQ(v1.norm_eps, 0.5);
  EXPECT_EQ(v1.lambda_init(3), diffllama.lambda_init(3));
  EXPECT_TRUE(v1.interleaved_rotary);
  config.lambda_init = 0.0;
  EXPECT_EQ(of(ModelType::diff_transformer).lambda_init(3), 0.0);
  EXPECT_EQ(of(ModelType::diffllama).lambda_init(3), diffllama.lambda_init(3));
  const AttentionDescriptor motif = of(ModelType::motif);
  EXPECT_EQ(motif.lambda, LambdaRule::exponential);
  EXPECT_EQ(motif.norm, HeadNorm::weighted);
  EXPECT_EQ(motif.norm_eps, 0.5);
  EXPECT_EQ(motif.lambda_init(4), diffllama.lambda_init(3));
  EXPECT_FALSE(motif.interleaved_rotary);
  config.num_key_value_heads = 1;
  const AttentionDescriptor v2 = of(ModelType::diff_transformer_v2);
  EXPECT_EQ(v2.lambda, LambdaRule::sigmoid);
  EXPECT_EQ(v2.norm, HeadNorm::none);
  EXPECT_TRUE(v2.interleaved_rotary);
  config.rope_interleaved = false;
  EXPECT_FALSE(of(ModelType::diff_transformer_v2).interleaved_rotary);
  config.qk_norm = true;
  const AttentionDescriptor llama = of(ModelType::llama);
  EXPECT_EQ(llama.lambda, LambdaRule::none);
  EXPECT_EQ(llama.norm, HeadNorm::none);
  EXPECT_TRUE(llama.qk_norm);
}

}  // namespace
}  // namespace diffllama
