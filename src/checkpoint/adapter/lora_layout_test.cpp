#include "checkpoint/adapter/lora_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig small_model(Architecture architecture = Architecture::causal_lm) {
  ModelConfig model;
  model.architecture = architecture;
  model.vocab_size = 11;
  model.hidden_size = 8;
  model.intermediate_size = 6;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.head_dim = 3;
  return model;
}

LoraConfig targeting(std::vector<std::string> modules) {
  LoraConfig config;
  config.target_modules = std::move(modules);
  return config;
}

LoraConfig matching(const std::string& expression) {
  LoraConfig config = targeting({});
  config.target_expression = expression;
  return config;
}

std::vector<std::string> modules(const LoraConfig& config,
                                 const ModelConfig& model = small_model()) {
  std::vector<std::string> names;
  for (const LoraTarget& target : lora_layout(config, model).targets) {
    names.push_back(target.module);
  }
  return names;
}

std::vector<std::string> saved(const LoraConfig& config, const ModelConfig& model = small_model()) {
  std::vector<std::string> names;
  for (const TensorSpec& spec : lora_layout(config, model).saved) names.push_back(spec.name);
  return names;
}

std::string refused(const LoraConfig& config, const ModelConfig& model = small_model()) {
  return refusal([&] { lora_layout(config, model, "a.json"); });
}

TEST(LoraLayout, NamesShapesAndScalings) {
  LoraConfig config;
  config.rank = 5;
  config.alpha = 8;
  const LoraLayout layout = lora_layout(config, small_model());
  ASSERT_EQ(layout.targets.size(), 4U);
  const LoraTarget& q = layout.targets[0];
  EXPECT_EQ(q.module, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(q.weight_name(), "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(q.out, 12);
  EXPECT_EQ(q.in, 8);
  EXPECT_EQ(q.rank, 5);
  EXPECT_EQ(q.scaling, 1.6F);
  std::vector<std::string> tensors;
  for (const TensorSpec& spec : layout.tensors()) {
    tensors.push_back(spec.name + to_string(spec.shape));
  }
  EXPECT_THAT(tensors, ElementsAre("model.layers.0.self_attn.q_proj.lora_A.weight[5, 8]",
                                   "model.layers.0.self_attn.q_proj.lora_B.weight[12, 5]",
                                   "model.layers.0.self_attn.v_proj.lora_A.weight[5, 8]",
                                   "model.layers.0.self_attn.v_proj.lora_B.weight[6, 5]",
                                   "model.layers.1.self_attn.q_proj.lora_A.weight[5, 8]",
                                   "model.layers.1.self_attn.q_proj.lora_B.weight[12, 5]",
                                   "model.layers.1.self_attn.v_proj.lora_A.weight[5, 8]",
                                   "model.layers.1.self_attn.v_proj.lora_B.weight[6, 5]"));
  config.rslora = true;
  EXPECT_EQ(lora_layout(config, small_model()).targets[0].scaling,
            static_cast<float>(8 / std::sqrt(5.0)));
}

TEST(LoraLayout, AListNamesPathsOrTheirEndsAfterADot) {
  EXPECT_THAT(
      modules(targeting({"layers.1.mlp.up_proj", "proj", "attn.k_proj", "c_attn",
                         "model.layers.0.self_attn.k_proj", "lm_head"})),
      ElementsAre("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj", "lm_head"));
  LoraConfig config = targeting({"k_proj", "v_proj"});
  config.exclude_modules = {"0.self_attn.k_proj", "model.layers.1.self_attn.v_proj"};
  EXPECT_THAT(modules(config),
              ElementsAre("model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.k_proj"));
}

TEST(LoraLayout, AnExpressionMatchesTheWholePath) {
  EXPECT_THAT(modules(matching(R"(model\.layers\.\d+\.mlp\.(up|down)_proj)")),
              ElementsAre("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj",
                          "model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"));
  // Alternatives are tried until the whole path fits.
  EXPECT_THAT(modules(matching("lm|lm_head")), ElementsAre("lm_head"));
  EXPECT_THAT(refused(matching("q_proj")),
              HasSubstr("a.json: target_modules: expected some linear layers of the model, got "
                        "\"q_proj\", which matches none"));
  LoraConfig config = matching(".*_proj");
  config.exclude_expression = ".*(self_attn|up|down).*";
  EXPECT_THAT(modules(config),
              ElementsAre("model.layers.0.mlp.gate_proj", "model.layers.1.mlp.gate_proj"));
}

TEST(LoraLayout, AllLinearLeavesOutTheOutputEmbeddings) {
  const LoraConfig all = matching("All-Linear");
  EXPECT_EQ(modules(all).size(), 14U);
  EXPECT_EQ(modules(all).back(), "model.layers.1.mlp.down_proj");
  EXPECT_EQ(modules(all, small_model(Architecture::sequence_classification)).back(), "score");
  EXPECT_EQ(modules(all, small_model(Architecture::question_answering)).front(),
            "transformer.layers.0.self_attn.q_proj");
  EXPECT_EQ(modules(all, small_model(Architecture::base_model)).front(),
            "layers.0.self_attn.q_proj");
  // As a task has it, the head is saved instead.
  const LoraConfig task = with_trained_head(all, Architecture::sequence_classification);
  const ModelConfig model = small_model(Architecture::sequence_classification);
  EXPECT_EQ(modules(task, model).size(), 14U);
  EXPECT_THAT(saved(task, model), ElementsAre("score.weight"));
}

TEST(LoraLayout, PatternsGiveRanksAndAlphas) {
  LoraConfig config = targeting({"q_proj", "v_proj"});
  config.rank_pattern = {{"v_proj", 4}, {"_proj", 2}, {R"(model\.layers\.1\.self_attn\..*)", 7}};
  config.alpha_pattern = {{"1.self_attn.v_proj", 21}};
  const LoraLayout layout = lora_layout(config, small_model());
  // The first in the order of the text fits: "model..." stands before "v_proj".
  EXPECT_EQ(layout.targets[0].rank, 8);
  EXPECT_EQ(layout.targets[1].rank, 4);
  EXPECT_EQ(layout.targets[2].rank, 7);
  EXPECT_EQ(layout.targets[3].rank, 7);
  EXPECT_EQ(layout.targets[1].scaling, 2.0F);
  EXPECT_EQ(layout.targets[3].scaling, 3.0F);
}

TEST(LoraLayout, ModulesToSaveAreStoredWhole) {
  LoraConfig config = targeting({"v_proj"});
  config.modules_to_save = {"layers.0.self_attn", "lm_head", "model.norm"};
  ModelConfig model = small_model();
  model.attention_bias = true;
  EXPECT_THAT(modules(config, model), ElementsAre("model.layers.1.self_attn.v_proj"));
  EXPECT_THAT(saved(config, model),
              AllOf(testing::Contains("model.layers.0.self_attn.lambda_q1"),
                    testing::Contains("model.layers.0.self_attn.v_proj.bias"),
                    testing::Contains("model.norm.weight"), testing::Contains("lm_head.weight"),
                    testing::SizeIs(4 + 8 + 2)));
  // PEFT looks at the end of the path alone: "norm" is every norm.
  config.modules_to_save = {"norm"};
  EXPECT_THAT(saved(config, model), testing::SizeIs(5));
}

TEST(LoraLayout, WhatIsNoLinearLayerIsRefused) {
  EXPECT_THAT(refused(targeting({"embed_tokens"})),
              HasSubstr("a.json: target_modules: expected linear layers, the ones that are "
                        "supported, got \"model.embed_tokens\""));
  EXPECT_THAT(refused(targeting({"q_proj", "mlp"})), HasSubstr("got \"model.layers.0.mlp\""));
  EXPECT_THAT(refused(matching(".*norm")), HasSubstr("input_layernorm"));
  EXPECT_THAT(refused(targeting({"c_attn"})), HasSubstr("got [\"c_attn\"], which name none"));
  EXPECT_THAT(refused(targeting({})), HasSubstr("got [], which name none"));
  LoraConfig config = targeting({"q_proj"});
  config.modules_to_save = {"proj"};  // an end of the path, but no whole part of it
  EXPECT_THAT(refused(config), HasSubstr("a.json: modules_to_save: expected modules that "
                                         "target_modules does not name too"));
}

TEST(LoraLayout, ExpressionsThatAreNoneAreRefused) {
  for (const char* expression : {"(", "a)|(b", "*", "[z-a]", "(?P<x"}) {
    EXPECT_THAT(refused(matching(expression)), HasSubstr("a.json: target_modules")) << expression;
  }
  LoraConfig config = targeting({"q_proj"});
  config.rank_pattern = {{"(", 3}};
  EXPECT_THAT(refused(config), HasSubstr("a.json: rank_pattern"));
  // One that backtracks for ever ends, in one way or the other.
  EXPECT_NE(refused(matching("((.*)*)*x")), "accepted");
}

}  // namespace
}  // namespace diffllama
