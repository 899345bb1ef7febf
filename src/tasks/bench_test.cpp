#include "tasks/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "diffllama/error.h"
#include "generation/test_model.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::size_t kSomeBytes = std::size_t{3} << 20;

std::vector<BenchResult> run(const TestModel& model, BenchOptions options) {
  options.bandwidth_bytes = kSomeBytes;
  const ForwardModel forward_model = model.forward_model();
  return bench(forward_model, model.parallel(), options);
}

TEST(Bench, MeasuresWhatIsAskedFor) {
  const ModelConfig config = TestModel::small_config();
  const TestModel model(config, initial_parameters(config, 1), 2);
  const auto both = run(model, {.n_prompt = {5}, .n_gen = {3}, .n_depth = {4}, .repetitions = 2});
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].n_prompt, 5);
  EXPECT_EQ(both[0].n_gen, 0);
  EXPECT_FALSE(both[0].bytes_per_second || both[0].read_bandwidth);
  EXPECT_EQ(both[1].n_prompt, 0);
  EXPECT_EQ(both[1].n_gen, 3);
  ASSERT_TRUE(both[1].bytes_per_second && both[1].read_bandwidth);
  EXPECT_GT(*both[1].read_bandwidth, 0);
  for (const BenchResult& result : both) {
    EXPECT_EQ(result.n_depth, 4);
    ASSERT_EQ(result.samples_ts.size(), 2U);
    for (const double sample : result.samples_ts) EXPECT_TRUE(sample > 0 && std::isfinite(sample));
  }
  EXPECT_EQ(run(model, {.n_prompt = {1}, .n_gen = {0}, .repetitions = 1}).size(), 1U);
  EXPECT_EQ(run(model, {.n_prompt = {0}, .n_gen = {1}, .repetitions = 1}).at(0).n_gen, 1);
}

// Counted by hand for one shape, both kinds of attention.
TEST(Bench, CountsWorkAndBytes) {
  ModelConfig config = TestModel::small_config();
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 96;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  for (const ModelType type : {ModelType::diffllama, ModelType::llama}) {
    config.model_type = type;
    const TestModel model(config, initial_parameters(config, 1));
    const auto results =
        run(model, {.n_prompt = {5}, .n_gen = {3}, .n_depth = {4}, .repetitions = 1});
    const double layer = 32 * (128 + 64 + 64) + 128 * 32 + 3 * 32 * 96;
    const double head = 64 * 32;
    // Keys seen: 5 + 6 + 7 + 8 + 9 by the prompt, 5 + 6 + 7 in generation; 4 heads of 32 values.
    const double prompt = 2 * (3 * layer * 5 + head) + 4 * 128 * 3 * 35.0;
    EXPECT_DOUBLE_EQ(results[0].flop_per_second, prompt / 5 * results[0].avg_ts());
    const double generation = 2 * (3 * layer + head) * 3 + 4 * 128 * 3 * 18.0;
    EXPECT_DOUBLE_EQ(results[1].flop_per_second, generation / 3 * results[1].avg_ts());
    const double bytes = 4 * (3 * layer + head) + 6.0 * 3 * 2 * 2 * 32 * 4;
    EXPECT_DOUBLE_EQ(*results[1].bytes_per_second, bytes * results[1].avg_ts());
  }
}

TEST(Bench, MeanAndDeviationOfSamples) {
  BenchResult result;
  result.samples_ts = {2, 4, 9};
  EXPECT_DOUBLE_EQ(result.avg_ts(), 5);
  EXPECT_DOUBLE_EQ(result.stddev_ts(), std::sqrt(13.0));
  result.samples_ts = {7};
  EXPECT_EQ(result.stddev_ts(), 0);
}

TEST(Bench, OnlyCausalModels) {
  ModelConfig config = TestModel::small_config();
  config.architecture = Architecture::base_model;
  const TestModel model(config, initial_parameters(config, 1));
  EXPECT_THAT([&] { run(model, {}); }, ThrowsMessage<InvalidArgument>(HasSubstr("causal LM")));
}

}  // namespace
}  // namespace diffllama
