#include "checkpoint/conversion/quantized_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

// Names and shapes are all that the rules look at.
class TensorTypesTest : public testing::Test {
 protected:
  void make(std::int64_t layers, std::int64_t columns, bool tied) {
    model_ = {};
    model_.config.num_hidden_layers = layers;
    columns_ = columns;
    if (!tied) model_.tensors.push_back(tensor("output.weight", {64, columns}));
  }
  static GgufTensor tensor(const std::string& name, const Shape& shape) {
    return {name, {{DType::float32, shape, {}}, name}};
  }
  std::string type(const char* quantized, const std::string& name) const {
    return std::string(dtype_name(
        TensorTypes(*find_quantized_type(quantized), model_).of(tensor(name, {64, columns_}))));
  }

  GgufModel model_;
  std::int64_t columns_ = 256;
};

TEST_F(TensorTypesTest, Names) {
  EXPECT_EQ(find_quantized_type("q4_k_m")->file_type, 15U);
  EXPECT_EQ(find_quantized_type("Q4_K"), nullptr);
  EXPECT_EQ(find_quantized_type(""), nullptr);
  EXPECT_THAT(quantized_types(),
              testing::ElementsAre("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0",
                                   "Q4_K_M", "Q4_1", "Q4_0"));
}

TEST_F(TensorTypesTest, OnlyMatricesOfWeights) {
  make(16, 256, false);
  const TensorTypes types(*find_quantized_type("Q4_0"), model_);
  EXPECT_EQ(types.of(tensor("blk.0.attn_norm.weight", {256})), DType::float32);
  EXPECT_EQ(types.of(tensor("blk.0.attn_q.bias", {256})), DType::float32);
  EXPECT_EQ(types.of(tensor("blk.0.attn_lambda_q1.weight", {16})), DType::float32);
  EXPECT_EQ(types.of(tensor("blk.0.attn_q.weight", {256, 256})), DType::q4_0);
}

TEST_F(TensorTypesTest, OutputAndEmbeddings) {
  make(16, 256, false);
  EXPECT_EQ(type("Q4_0", "output.weight"), "q6_k");
  EXPECT_EQ(type("Q4_0", "token_embd.weight"), "q4_0");
  EXPECT_EQ(type("Q8_0", "output.weight"), "q8_0");
  EXPECT_EQ(type("BF16", "output.weight"), "bfloat16");
  make(16, 256, true);
  EXPECT_EQ(type("Q5_1", "token_embd.weight"), "q6_k");
}

// 30 layers: the eighths are 0 to 2 and 26 to 29, every third between them 5, 8, ...
TEST_F(TensorTypesTest, SomeLayersHaveMoreBits) {
  make(30, 256, true);
  std::string more;
  for (int layer = 0; layer < 30; ++layer) {
    const std::string blk = "blk." + std::to_string(layer) + ".";
    EXPECT_EQ(type("Q4_K_M", blk + "attn_v.weight"), type("Q4_K_M", blk + "ffn_down.weight"));
    EXPECT_EQ(type("Q4_K_M", blk + "attn_k.weight"), "q4_k");
    EXPECT_EQ(type("Q6_K", blk + "attn_v.weight"), "q6_k");
    EXPECT_EQ(type("Q4_0", blk + "attn_v.weight"), "q4_0");
    const bool has = type("Q5_K_M", blk + "attn_v.weight") == "q6_k";
    if (has) more += std::to_string(layer) + " ";
  }
  EXPECT_EQ(more, "0 1 2 5 8 11 14 17 20 23 26 27 28 29 ");
}

TEST_F(TensorTypesTest, ValuesThatManyHeadsShare) {
  make(80, 256, false);
  EXPECT_EQ(type("Q4_K_M", "blk.10.attn_v.weight"), "q4_k");
  model_.config.num_attention_heads = 64;
  model_.config.num_key_value_heads = 8;
  EXPECT_EQ(type("Q4_K_M", "blk.10.attn_v.weight"), "q5_k");
  EXPECT_EQ(type("Q4_K_M", "blk.0.attn_v.weight"), "q6_k");
}

// SmolLM2's 576 columns are no multiple of 256, 40 not even of 32.
TEST_F(TensorTypesTest, FallBacks) {
  make(30, 576, true);
  EXPECT_EQ(type("Q4_K_M", "blk.3.attn_q.weight"), "q5_0");
  EXPECT_EQ(type("Q5_K_M", "blk.3.attn_q.weight"), "q5_1");
  EXPECT_EQ(type("Q6_K", "blk.3.attn_q.weight"), "q8_0");
  EXPECT_EQ(type("Q4_K_M", "blk.0.attn_v.weight"), "q8_0");
  EXPECT_EQ(type("Q4_K_M", "token_embd.weight"), "q8_0");
  EXPECT_EQ(type("Q4_0", "token_embd.weight"), "q8_0");
  EXPECT_EQ(type("Q4_0", "blk.3.attn_q.weight"), "q4_0");
  make(30, 40, true);
  EXPECT_EQ(type("Q4_K_M", "blk.3.attn_q.weight"), "float16");
  EXPECT_EQ(type("Q8_0", "blk.3.attn_q.weight"), "float16");
  EXPECT_EQ(type("F32", "blk.3.attn_q.weight"), "float32");
}

}  // namespace
}  // namespace diffllama
