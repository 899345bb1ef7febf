#include "model/adapters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

const std::filesystem::path kGoldens = std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden";

LoraLayout layout_of(std::vector<std::string> targets) {
  ModelConfig model;
  model.vocab_size = 50;
  model.hidden_size = 400;
  model.intermediate_size = 64;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.head_dim = 10;
  LoraConfig config;
  config.rank = 16;
  config.target_modules = std::move(targets);
  return lora_layout(config, model);
}

std::vector<float> values(const Parameter& parameter) {
  const Tensor tensor = parameter.read();
  return {tensor.f32().begin(), tensor.f32().end()};
}

TEST(InitialLora, IsWhatPeftDraws) {
  const Parameters parameters = initial_lora_parameters(layout_of({"q_proj", "up_proj"}), 3);
  ASSERT_EQ(parameters.size(), 8U);
  const std::string module = "model.layers.1.self_attn.q_proj";
  const Parameter& a = parameters.at(module + ".lora_A.weight");
  EXPECT_EQ(a.shape, (Shape{16, 400}));
  EXPECT_EQ(parameters.at(module + ".lora_B.weight").shape, (Shape{40, 16}));
  EXPECT_THAT(values(parameters.at(module + ".lora_B.weight")), testing::Each(0.0F));
  // Uniform in +-1/sqrt(400): 6,400 values, whose mean and mean square lie within five standard
  // errors of 0 and bound^2 / 3.
  const double bound = 0.05;
  double sum = 0;
  double squares = 0;
  for (const float value : values(a)) {
    EXPECT_LE(std::abs(value), 0.05F);
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  EXPECT_LE(std::abs(sum / 6400), 5 * bound / std::sqrt(3.0 * 6400));
  EXPECT_LE(std::abs(squares / 6400 - bound * bound / 3),
            5 * bound * bound * std::sqrt(4.0 / 45 / 6400));
}

TEST(InitialLora, DependsOnSeedAndNameAlone) {
  const std::string name = "model.layers.1.self_attn.q_proj.lora_A.weight";
  const Parameters one = initial_lora_parameters(layout_of({"q_proj", "up_proj"}), 3);
  const Parameters other = initial_lora_parameters(layout_of({"q_proj"}), 3);
  EXPECT_EQ(values(one.at(name)), values(other.at(name)));
  EXPECT_NE(values(one.at(name)),
            values(initial_lora_parameters(layout_of({"q_proj"}), 4).at(name)));
  EXPECT_NE(values(one.at(name)), values(one.at("model.layers.0.self_attn.q_proj.lora_A.weight")));
}

TEST(MergedParameter, AddsInFloat32AndRoundsOnce) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};  // [2, 3]
  const std::vector<float> b = {1, -1, 0.5, 0.25};  // [2, 2]
  const LoraMatrices lora = {.out = 2, .in = 3, .rank = 2, .a = a, .b = b, .scaling = 0.5F};
  const Parameter base = {.dtype = DType::q8_0,
                          .shape = {2, 3},
                          .read_row =
                              [](std::int64_t row, std::span<float> out) {
                                std::ranges::fill(out, static_cast<float>(10 * row + 1));
                              },
                          .row_blocks = [](std::int64_t) { return std::span<const std::byte>(); }};
  const Parameter merged = merged_parameter(base, lora, DType::float32);
  EXPECT_EQ(merged.dtype, DType::float32);
  EXPECT_FALSE(merged.row_blocks);
  EXPECT_THAT(values(merged), testing::ElementsAre(-0.5F, -0.5F, -0.5F, 11.75F, 12.125F, 12.5F));
  // 12.125 and 11.75 need 7 and 6 bits: bfloat16 keeps them; of 1 + 2^-9 it keeps 1.
  EXPECT_EQ(values(merged_parameter(base, lora, DType::bfloat16)), values(merged));
  const std::vector<float> small_b(4, 0.0009765625F);
  LoraMatrices small = lora;
  small.b = small_b;
  EXPECT_NE(values(merged_parameter(base, small, DType::float32))[0], 1.0F);
  EXPECT_EQ(values(merged_parameter(base, small, DType::bfloat16))[0], 1.0F);
  EXPECT_THROW(merged_parameter(base, lora, DType::q8_0), InvalidArgument);
  LoraMatrices wrong = lora;
  wrong.in = 2;
  EXPECT_THROW(merged_parameter(base, wrong, DType::float32), InvalidArgument);
}

TEST(StoredLora, NamesWhatAnAdapterHolds) {
  const Checkpoint checkpoint = Checkpoint::open(kGoldens / "forward/diffllama_sequence_3");
  auto adapter =
      LoraAdapter::open(kGoldens / "adapters/sequence_classification", checkpoint.config());
  const std::string name = "model.layers.1.mlp.up_proj.lora_B.weight";
  const std::vector<float> b(adapter->modules().at("model.layers.1.mlp.up_proj").b.begin(),
                             adapter->modules().at("model.layers.1.mlp.up_proj").b.end());
  const std::vector<TensorSpec> specs = adapter->layout().tensors();
  const Parameters parameters = stored_lora_parameters(adapter);
  adapter.reset();
  ASSERT_EQ(parameters.size(), specs.size());
  for (const TensorSpec& spec : specs) EXPECT_EQ(parameters.at(spec.name).shape, spec.shape);
  EXPECT_EQ(values(parameters.at(name)), b);
}

TEST(StoredParameters, AreFloat32WhereAnAdapterIsMerged) {
  Checkpoint opened =
      Checkpoint::open(kGoldens / "forward/diffllama_mixed_storage", [](const std::string&) {});
  const Parameters before =
      stored_parameters(std::make_shared<const Checkpoint>(Checkpoint(opened)));
  const auto adapter = LoraAdapter::open(kGoldens / "adapters/mixed_storage", opened.config());
  opened.merge(adapter);
  const Parameters after = stored_parameters(std::make_shared<const Checkpoint>(std::move(opened)));
  for (const auto& [name, parameter] : after) {
    const auto module = adapter->modules().find(name.substr(0, name.rfind('.')));
    const Parameter& base = before.at(name);
    if (module == adapter->modules().end()) {
      EXPECT_EQ(parameter.dtype, base.dtype) << name;
      EXPECT_EQ(values(parameter), values(base)) << name;
    } else {
      EXPECT_EQ(parameter.dtype, DType::float32) << name;
      EXPECT_EQ(values(parameter), values(merged_parameter(base, module->second, DType::float32)))
          << name;
    }
  }
}

}  // namespace
}  // namespace diffllama
