#include "training/parameter_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::HasSubstr;

ModelConfig odd_config() {
  ModelConfig config;
  config.vocab_size = 7;
  config.hidden_size = 6;
  config.intermediate_size = 5;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 2;
  config.attention_bias = true;
  return config;
}

TEST(ParameterLayout, FollowsTheTableOfNames) {
  const ModelConfig config = odd_config();
  const ParameterLayout layout(config);
  const auto specs = tensor_specs(config);
  ASSERT_EQ(layout.slots().size(), specs.size());
  std::int64_t end = 0;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const ParameterSlot& slot = layout.slots()[i];
    EXPECT_EQ(slot.name, specs[i].name);
    EXPECT_EQ(slot.shape, specs[i].shape);
    EXPECT_EQ(slot.size, element_count(slot.shape));
    EXPECT_EQ(slot.offset % 16, 0);
    EXPECT_GE(slot.offset, end);
    EXPECT_LT(slot.offset - end, 16) << "padding is of the slot before alone";
    EXPECT_EQ(layout.find(slot.name), &slot);
    end = slot.offset + slot.size;
  }
  EXPECT_EQ(layout.size() % 16, 0);
  EXPECT_LT(layout.size() - end, 16);
  EXPECT_EQ(layout.find("model.layers.2.mlp.up_proj.weight"), nullptr);
}

TEST(ParameterLayout, TiedHeadHasNoSlot) {
  ModelConfig config = odd_config();
  config.tie_word_embeddings = true;
  EXPECT_EQ(ParameterLayout(config).find("lm_head.weight"), nullptr);
  config.tie_word_embeddings = false;
  EXPECT_NE(ParameterLayout(config).find("lm_head.weight"), nullptr);
}

TEST(ParameterLayout, NormsBiasesAndLambdaVectorsDoNotDecay) {
  ModelConfig config = odd_config();
  config.architecture = Architecture::token_classification;
  const ParameterLayout layout(config);
  for (const char* name :
       {"model.norm.weight", "model.layers.1.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight", "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.lambda_q1", "model.layers.1.self_attn.lambda_k2", "score.bias"}) {
    ASSERT_NE(layout.find(name), nullptr) << name;
    EXPECT_FALSE(layout.find(name)->decay) << name;
  }
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                           "model.layers.1.mlp.down_proj.weight", "score.weight"}) {
    ASSERT_NE(layout.find(name), nullptr) << name;
    EXPECT_TRUE(layout.find(name)->decay) << name;
  }
}

// subln of DIFF Transformer V1 is a norm, whatever its name; lambda_proj of V2 is a matrix.
TEST(ParameterLayout, MatricesAloneDecay) {
  const ParameterLayout layout(std::vector<TensorSpec>{
      {.name = "layers.0.self_attn.subln.weight", .gguf_name = "", .shape = {8}},
      {.name = "layers.0.self_attn.lambda_proj.weight", .gguf_name = "", .shape = {2, 8}}});
  EXPECT_FALSE(layout.slots()[0].decay);
  EXPECT_TRUE(layout.slots()[1].decay);
}

TEST(ParameterLayout, BaseModelNamesHaveNoPrefix) {
  ModelConfig config = odd_config();
  config.architecture = Architecture::base_model;
  const ParameterLayout layout(config);
  ASSERT_NE(layout.find("norm.weight"), nullptr);
  EXPECT_FALSE(layout.find("norm.weight")->decay);
  EXPECT_FALSE(layout.find("layers.0.self_attn.lambda_q1")->decay);
}

TEST(ParameterLayout, OfGivenParameters) {
  const ParameterLayout layout(
      std::vector<TensorSpec>{{.name = "a.lora_A.weight", .gguf_name = "", .shape = {2, 8}},
                              {.name = "a.lora_B.weight", .gguf_name = "", .shape = {3, 2}}});
  ASSERT_EQ(layout.slots().size(), 2U);
  EXPECT_EQ(layout.slots()[0].offset, 0);
  EXPECT_EQ(layout.slots()[1].offset, 16);
  EXPECT_EQ(layout.slots()[1].size, 6);
  EXPECT_EQ(layout.size(), 32);
  EXPECT_TRUE(layout.slots()[0].decay);
  EXPECT_EQ(ParameterLayout().size(), 0);
}

TEST(ParameterLayout, RefusesWhatDoesNotFit) {
  const auto message = [](const std::vector<TensorSpec>& specs) {
    try {
      const ParameterLayout layout(specs);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message({{.name = "w", .gguf_name = "", .shape = {2}},
                       {.name = "w", .gguf_name = "", .shape = {2}}}),
              HasSubstr("got w twice"));
  const std::int64_t half = std::int64_t{1} << 62;
  EXPECT_THAT(message({{.name = "a", .gguf_name = "", .shape = {half}},
                       {.name = "b", .gguf_name = "", .shape = {half}}}),
              HasSubstr("got more with b"));
}

}  // namespace
}  // namespace diffllama
