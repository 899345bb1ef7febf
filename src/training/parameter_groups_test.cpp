#include "training/parameter_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Names = std::vector<std::string>;
using Set = std::set<std::string>;

const Names kNames = {"lm_head.weight",
                      "model.embed_tokens.weight",
                      "model.layers.0.input_layernorm.weight",
                      "model.layers.0.mlp.up_proj.weight",
                      "model.layers.0.self_attn.lambda_proj.weight",
                      "model.layers.0.self_attn.q_proj.weight",
                      "model.layers.1.self_attn.dex_lambda",
                      "model.layers.1.self_attn.dex_proj.weight"};

TEST(ParameterGroups, GroupsAndGlobsChooseByName) {
  const auto chosen = [](const Names& patterns) {
    return chosen_parameters(kNames, patterns, "f");
  };
  EXPECT_EQ(chosen({"lambda"}), (Set{kNames[4], kNames[6]}));
  EXPECT_EQ(chosen({"dex"}), (Set{kNames[6], kNames[7]}));
  EXPECT_EQ(chosen({"embeddings", "head"}), (Set{kNames[0], kNames[1]}));
  EXPECT_EQ(chosen({"norms"}), Set{kNames[2]});
  EXPECT_EQ(chosen({"mlp"}), Set{kNames[3]});
  EXPECT_EQ(chosen({"attention"}).size(), 4U);
  EXPECT_EQ(chosen({"model.layers.[0].*proj*"}), (Set{kNames[3], kNames[4], kNames[5]}));
  EXPECT_EQ(chosen({}), Set());
}

TEST(ParameterGroups, APatternThatChoosesNothingIsNamed) {
  EXPECT_THAT(
      [] {
        chosen_parameters(kNames, {"lambda", "q_proj"}, "training.freeze");
      },
      ThrowsMessage<ConfigError>(AllOf(HasSubstr("recipe: training.freeze: expected"),
                                       HasSubstr("got \"q_proj\", which chooses none"))));
}

TEST(ParameterGroups, WhatIsTrainedIsWhatIsLeft) {
  EXPECT_EQ(trained_parameters(kNames, {}, {}).size(), kNames.size());
  EXPECT_EQ(trained_parameters(kNames, {"attention"}, {"dex"}), (Set{kNames[4], kNames[5]}));
  EXPECT_THAT([] { trained_parameters(kNames, {"lambda"}, {"attention"}); },
              ThrowsMessage<ConfigError>(HasSubstr("a parameter that is left to train")));
}

}  // namespace
}  // namespace diffllama
