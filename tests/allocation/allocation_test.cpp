// A decoded token allocates nothing: every way to memory is counted while `generate` runs.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "diffllama/generation.h"
#include "diffllama/model.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DIFFLLAMA_COUNTS_ALLOCATIONS 1
#else
#define DIFFLLAMA_COUNTS_ALLOCATIONS 0  // a sanitizer's allocator is its own
#endif

namespace {
// malloc has nowhere else to count.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<std::int64_t> allocations{0};
}  // namespace

#if DIFFLLAMA_COUNTS_ALLOCATIONS
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,readability-inconsistent-declaration-parameter-name):
// glibc's own names
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* data, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* data, std::size_t size) {
  ++allocations;
  return __libc_realloc(data, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,readability-inconsistent-declaration-parameter-name)
#endif

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
          config.max_new_tokens = 60;
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
                     if (tokens == 110) counted = allocations - before;
                   });
          EXPECT_EQ(tokens, 120);
          EXPECT_GT(before, 0);
          EXPECT_EQ(counted, 0) << "compute " << static_cast<int>(compute) << ", cache "
                                << static_cast<int>(cache) << ", samples " << samples;
        }
      }
    }
  }
}

}  // namespace
}  // namespace diffllama
