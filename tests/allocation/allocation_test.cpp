// A decoded token allocates nothing: every way to memory is counted while `generate` runs.
#include <gtest/gtest.h>

#include <cstdint>
#include <new>
#include <numeric>
#include <string>
#include <vector>

#include "allocation/counted_allocator.h"
#include "diffllama/engine.h"
#include "diffllama/generation.h"
#include "diffllama/model.h"

namespace diffllama {
namespace {

ModelConfig small_config(ModelType type) {
  ModelConfig config;
  config.model_type = type;
  config.vocab_size = 97;
  config.hidden_size = 96;
  config.intermediate_size = 96;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 12;
  config.num_key_value_heads = 6;  // 3 groups: two threads share the keys of each
  config.head_dim = 16;
  config.initializer_range = 0.3;
  return config;
}

TEST(Allocation, ADecodedTokenAllocatesNothing) {
  if (DIFFLLAMA_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "needs glibc's allocator";
  for (const ModelType type : {ModelType::diffllama, ModelType::llama}) {
    for (const ComputeType compute : {ComputeType::float32, ComputeType::bfloat16}) {
      for (const CacheType cache : {CacheType::f32, CacheType::bf16, CacheType::q8_0}) {
        for (const bool samples : {false, true}) {
          LoadOptions load;
          load.threads = 2;
          load.compute = compute;
          load.cache_type = cache;
          const Model model = Model::from_config(small_config(type), 1, load);
          GenerationConfig config;
          config.max_new_tokens = 300;  // past a block of 256 keys
          config.ignore_eos = true;
          config.do_sample = samples;
          config.top_p = 0.9;
          config.repetition_penalty = 1.1;
          const std::vector<std::vector<std::int64_t>> prompts = {{1, 2, 3}, {4, 5, 6, 7}};
          std::int64_t before = 0;
          std::int64_t counted = 0;
          std::int64_t tokens = 0;
          generate(model, prompts, config, nullptr,
                   [&](std::int64_t, std::int64_t, const std::string&) {
                     // The first tokens make room that the others use again.
                     if (++tokens == 20) before = allocations;
                     if (tokens == 590) counted = allocations - before;
                   });
          EXPECT_EQ(tokens, 600);
          EXPECT_GT(before, 0);
          EXPECT_EQ(counted, 0) << "compute " << static_cast<int>(compute) << ", cache "
                                << static_cast<int>(cache) << ", samples " << samples;
        }
      }
    }
  }
}

// Nor does one past the first thousand, where blocks of 256 keys are taken from the pool and told
// to the prefix cache.
TEST(Allocation, AStepOfAnEngineAllocatesNothing) {
  if (DIFFLLAMA_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "needs glibc's allocator";
  for (const CacheType cache : {CacheType::bf16, CacheType::q8_0}) {
    LoadOptions load;
    load.threads = 2;
    load.compute = ComputeType::bfloat16;
    const Model model = Model::from_config(small_config(ModelType::diffllama), 1, load);
    Engine engine(model, {.memory_bytes = std::size_t{16} << 20, .cache_type = cache});
    Request request;
    request.config.max_new_tokens = 1500;
    request.config.ignore_eos = true;
    request.config.do_sample = true;
    request.ids = {1, 2, 3};
    engine.add(request);
    request.ids = {4, 5, 6, 7};
    engine.add(request);
    std::int64_t steps = 0;
    std::int64_t before = 0;
    std::int64_t counted = 0;
    while (engine.has_work()) {
      engine.step();
      if (++steps == 1000) before = allocations;
      if (steps == 1490) counted = allocations - before;
    }
    EXPECT_EQ(steps, 1500);
    EXPECT_EQ(engine.counters().blocks_kept, 10);  // each crossed from block to block
    EXPECT_EQ(counted, 0) << "cache " << static_cast<int>(cache);
  }
}

Tensor ids_of(std::int64_t count, std::int64_t first) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) ids[static_cast<std::size_t>(i)] = (first + i * 7) % 97;
  return Tensor::from(ids, {1, count});
}

std::vector<float> logits_of(const Model& model, std::int64_t count, std::int64_t first,
                             KVCache& cache) {
  ForwardInputs inputs;
  inputs.input_ids = ids_of(count, first);
  inputs.logits_to_keep = 1;
  const ForwardOutput output = model.forward(inputs, &cache);
  return {output.logits->f32().begin(), output.logits->f32().end()};
}

// Whichever allocation fails, the cache is as it was: what follows has the bits of a cache that
// never saw the call.
TEST(Allocation, AForwardThatFailsLeavesTheCacheAsItWas) {
  if (DIFFLLAMA_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "needs glibc's allocator";
  for (const CacheType type : {CacheType::f32, CacheType::bf16, CacheType::q8_0}) {
    LoadOptions load;
    load.threads = 2;
    load.cache_type = type;
    load.prefill_chunk = 64;  // several chunks a call: the later ones may fail as well
    const Model model = Model::from_config(small_config(ModelType::diffllama), 1, load);
    KVCache whole = model.make_cache(1);
    logits_of(model, 150, 1, whole);
    const std::vector<float> expected = logits_of(model, 200, 2, whole);

    KVCache first = model.make_cache(1);
    logits_of(model, 150, 1, first);
    std::int64_t failures = 0;
    for (std::int64_t fails = 0;; ++fails) {
      KVCache cache = first.fork();  // so that the partial block has to be copied too
      // Longer than what comes later: what it left behind would be seen.
      ForwardInputs other;
      other.input_ids = ids_of(300, 5);
      other.logits_to_keep = 1;
      allocations_until_failure = fails;
      bool failed = false;
      try {
        model.forward(other, &cache);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      allocations_until_failure = -1;
      if (!failed) break;
      ++failures;
      EXPECT_EQ(cache.length(), 150);
      ASSERT_EQ(logits_of(model, 200, 2, cache), expected) << "allocation " << fails << " failed";
    }
    EXPECT_GT(failures, 40) << "cache " << static_cast<int>(type);
  }
}

// What a request became: its tokens, or that it was refused.
struct Outcome {
  std::vector<std::int64_t> ids;
  bool ended = false, refused = false;
};

// Runs an engine until has_work() says that nothing is left; a step may fail for want of memory.
std::vector<Outcome> run_engine(const Model& model, std::int64_t fails, bool& failed) {
  Engine engine(model, {.memory_bytes = std::size_t{16} << 20});
  for (std::int64_t i = 0; i < 3; ++i) {
    Request request;
    request.ids = {1 + i, 2, 3};
    request.config.max_new_tokens = 3;
    request.config.ignore_eos = true;
    request.config.guidance_scale = i == 1 ? 1.5 : 1;  // a second sequence beside the first
    engine.add(request);
  }
  std::vector<Outcome> outcomes(3);
  allocations_until_failure = fails;
  for (int steps = 0; steps < 20 && engine.has_work(); ++steps) {
    try {
      const StepEvents& events = engine.step();
      allocations_until_failure = -1;
      for (const NewToken& token : events.tokens)
        outcomes[token.request - 1].ids.push_back(token.id);
      for (const Ending& ending : events.endings) outcomes[ending.request - 1].ended = true;
      for (const Refusal& refusal : events.refusals) outcomes[refusal.request - 1].refused = true;
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    allocations_until_failure = -1;
  }
  return outcomes;
}

// Whichever allocation of its first step fails: no request is lost.
TEST(Allocation, AStepThatFailsLeavesEveryRequestToTheNext) {
  if (DIFFLLAMA_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "needs glibc's allocator";
  LoadOptions load;
  load.threads = 2;
  const Model model = Model::from_config(small_config(ModelType::diffllama), 1, load);
  bool failed = false;
  const std::vector<Outcome> undisturbed = run_engine(model, -1, failed);
  std::int64_t failures = 0;
  for (std::int64_t fails = 0;; ++fails) {
    failed = false;
    const std::vector<Outcome> outcomes = run_engine(model, fails, failed);
    bool refused = false;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      refused = refused || outcomes[i].refused;
      EXPECT_NE(outcomes[i].ended, outcomes[i].refused) << "allocation " << fails;
      if (outcomes[i].ended) {
        EXPECT_EQ(outcomes[i].ids, undisturbed[i].ids) << fails;
      }
    }
    if (!failed && !refused) break;
    failures += failed ? 1 : 0;
  }
  EXPECT_GT(failures, 5);
}

}  // namespace
}  // namespace diffllama
