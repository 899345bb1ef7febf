#include "tasks/parallel_bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "generation/test_model.h"

namespace diffllama {
namespace {

std::vector<ParallelBenchResult> run(const TestModel& model, ParallelBenchOptions options) {
  options.bandwidth_bytes = std::size_t{3} << 20;
  const ForwardModel forward_model = model.forward_model();
  return parallel_bench(forward_model, model.parallel(), options);
}

TEST(ParallelBench, AnEntryForEachCount) {
  const ModelConfig config = TestModel::small_config();
  const TestModel model(config, initial_parameters(config, 1), 2);
  const auto results =
      run(model, {.n_parallel = {1, 70}, .n_prompt = 5, .n_gen = 3, .repetitions = 2});
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[1].n_parallel, 70);
  for (const ParallelBenchResult& result : results) {
    EXPECT_EQ(result.n_prompt, 5);
    EXPECT_EQ(result.n_gen, 3);
    ASSERT_EQ(result.prompt_samples_ts.size(), 2U);
    ASSERT_EQ(result.decode_samples_ts.size(), 2U);
    EXPECT_TRUE(result.prompt_ts() > 0 && std::isfinite(result.prompt_ts()));
    // A step reads the weights, and the keys that each request has seen on average.
    const auto layout = model.forward_model().stack.make_cache().layout();
    const double bytes =
        static_cast<double>(model.forward_model().weights.packed_bytes()) +
        static_cast<double>(result.n_parallel) * 7 * static_cast<double>(layout.bytes_per_key());
    EXPECT_DOUBLE_EQ(*result.bytes_per_second,
                     bytes * *result.decode_ts() / static_cast<double>(result.n_parallel));
  }
}

TEST(ParallelBench, PromptsAlone) {
  const ModelConfig config = TestModel::small_config();
  const TestModel model(config, initial_parameters(config, 1));
  const auto results = run(model, {.n_parallel = {2}, .n_prompt = 4, .n_gen = 0, .repetitions = 1});
  EXPECT_GT(results.at(0).prompt_ts(), 0);
  EXPECT_FALSE(results.at(0).decode_ts() || results.at(0).read_bandwidth);
}

}  // namespace
}  // namespace diffllama
