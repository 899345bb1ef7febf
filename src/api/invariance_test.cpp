// The same bytes every time: logits do not depend on the batch, the chunks, the threads, the blocks
// of the cache, or what was forked or rolled back before.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "diffllama/model.h"

namespace diffllama {
namespace {

using Ids = std::vector<std::int64_t>;
using Logits = std::vector<float>;

constexpr std::int64_t kVocabulary = 40;

/// Where quantised models are kept while the tests run.
std::filesystem::path scratch() {
  return testing::TempDir() + "/diffllama_invariance_" + std::to_string(getpid());
}

/// A model and how it is computed.
struct Kind {
  std::string name;
  ModelType type;
  ComputeType compute;
  CacheType cache;
  std::string weights = {};  // what `quantize` calls the format; empty: float32, as drawn

  Model model(int threads = 2, std::int64_t prefill_chunk = 512) const {
    ModelConfig config;
    config.model_type = type;
    config.vocab_size = kVocabulary;
    config.hidden_size = 48;
    config.intermediate_size = 48;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 12;
    config.num_key_value_heads = 6;
    config.head_dim = 8;
    config.initializer_range = 0.3;
    if (!weights.empty()) {  // whole blocks of every format
      config.hidden_size = config.intermediate_size = 256;
      config.num_attention_heads = 32;
      config.num_key_value_heads = 16;
      config.initializer_range = 0.1;
    }
    LoadOptions load;
    load.threads = threads;
    load.prefill_chunk = prefill_chunk;
    load.compute = compute;
    load.cache_type = cache;
    if (weights.empty()) return Model::from_config(config, 3, load);
    const std::filesystem::path folder = scratch() / name;
    const std::filesystem::path file = folder / "quantized.gguf";
    if (!std::filesystem::exists(file)) {
      std::filesystem::create_directories(scratch());
      Model::from_config(config, 3).save_pretrained(folder);
      quantize_model(folder, file, weights, {});
    }
    return Model::from_pretrained(file, load);
  }
};

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (const auto& [model, type] :
       {std::pair{"diffllama", ModelType::diffllama}, {"llama", ModelType::llama}}) {
    for (const auto& [products, compute] :
         {std::pair{"float32", ComputeType::float32}, {"bfloat16", ComputeType::bfloat16}}) {
      for (const auto& [stored, cache] : {std::pair{"f32", CacheType::f32},
                                          {"bf16", CacheType::bf16},
                                          {"q8_0", CacheType::q8_0}}) {
        all.push_back({std::string(model) + "_" + products + "_" + stored, type, compute, cache});
      }
    }
  }
  for (const char* weights :
       {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K_M", "Q5_K_M", "Q6_K", "F16", "BF16"}) {
    all.push_back({std::string("diffllama_") + weights, ModelType::diffllama, ComputeType::bfloat16,
                   CacheType::bf16, weights});
  }
  return all;
}

class Invariance : public testing::TestWithParam<Kind> {
 protected:
  Invariance() : seed_(std::random_device{}()), random_(seed_) {
    trace_ = "seed " + std::to_string(seed_);
  }
  Ids ids(std::int64_t count) {
    Ids ids(static_cast<std::size_t>(count));
    for (auto& id : ids) id = static_cast<std::int64_t>(random_() % kVocabulary);
    return ids;
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(scratch()); }

  unsigned seed_;
  std::mt19937 random_;
  std::string trace_;
};

/// Logits of tokens [first, first + count) of the rows, one after the other.
Logits forward(const Model& model, const std::vector<Ids>& rows, std::int64_t first,
               std::int64_t count, KVCache* cache) {
  Ids flat;
  for (const Ids& row : rows)
    flat.insert(flat.end(), row.begin() + first, row.begin() + first + count);
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(flat, {std::ssize(rows), count});
  const ForwardOutput output = model.forward(inputs, cache);
  return {output.logits->f32().begin(), output.logits->f32().end()};
}

Logits forward(const Model& model, const Ids& ids) {
  return forward(model, {ids}, 0, std::ssize(ids), nullptr);
}

Logits part(const Logits& logits, std::int64_t first, std::int64_t count) {
  return {logits.begin() + first * kVocabulary, logits.begin() + (first + count) * kVocabulary};
}

TEST_P(Invariance, ChunksAndThreads) {
  const Ids tokens = ids(530);
  const Logits whole = forward(GetParam().model(1), tokens);
  for (const int threads : {1, 2}) {
    for (const std::int64_t chunk : {1, 7, 64, 512, 1000}) {
      EXPECT_EQ(forward(GetParam().model(threads, chunk), tokens), whole)
          << "threads " << threads << ", chunk " << chunk << ", " << trace_;
    }
  }
}

// NaN, infinity and what overflows, in some value of a token: earlier rows are as without it, and
// later ones the same whatever the chunks.
TEST_P(Invariance, NaNAndInfinityReachNoEarlierRow) {
  const Model model = GetParam().model(1);
  const std::int64_t width = model.config().hidden_size;
  constexpr std::int64_t kTokens = 270;
  std::vector<float> embeddings(static_cast<std::size_t>(kTokens * width));
  for (float& value : embeddings) value = std::normal_distribution<float>()(random_);
  const auto logits = [&](const Model& of) {
    ForwardInputs inputs;
    inputs.inputs_embeds = Tensor::from(embeddings, {1, kTokens, width});
    const ForwardOutput output = of.forward(inputs);
    return Logits(output.logits->f32().begin(), output.logits->f32().end());
  };
  const Logits clean = logits(model);
  for (const float wrong : {NAN, -INFINITY, 3.4e38F}) {
    const auto token = static_cast<std::int64_t>(1 + random_() % (kTokens - 1));
    const auto at = static_cast<std::size_t>(token * width) + random_() % 8;
    const float right = std::exchange(embeddings[at], wrong);
    const Logits alone = logits(GetParam().model(1, 1));
    EXPECT_EQ(part(alone, 0, token), part(clean, 0, token)) << trace_;
    for (const std::int64_t chunk : {7, 512}) {
      const Logits found = logits(GetParam().model(2, chunk));
      const auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
      EXPECT_TRUE(std::equal(found.begin(), found.end(), alone.begin(), same))
          << wrong << " in token " << token << ", chunk " << chunk << ", " << trace_;
    }
    embeddings[at] = right;
  }
}

TEST_P(Invariance, BatchesFromOneToSeventeen) {
  const Model model = GetParam().model();
  std::vector<Ids> rows;
  std::vector<Logits> alone;
  for (std::int64_t batch = 1; batch <= 17; ++batch) {
    rows.push_back(ids(20));
    alone.push_back(forward(model, rows.back()));
    const Logits together = forward(model, rows, 0, 20, nullptr);
    for (std::int64_t b = 0; b < batch; ++b) {
      EXPECT_EQ(part(together, b * 20, 20), alone[static_cast<std::size_t>(b)])
          << "row " << b << " of " << batch << ", " << trace_;
    }
  }
}

TEST_P(Invariance, BlocksOfTheCache) {
  const Model model = GetParam().model();
  const Ids tokens = ids(514);
  const Logits whole = forward(model, tokens);
  for (const std::int64_t first : {255, 256, 257, 511, 512, 513}) {
    KVCache cache = model.make_cache(1);
    EXPECT_EQ(forward(model, {tokens}, 0, first, &cache), part(whole, 0, first)) << trace_;
    for (std::int64_t t = first; t < std::min<std::int64_t>(first + 3, 514); ++t) {
      EXPECT_EQ(forward(model, {tokens}, t, 1, &cache), part(whole, t, 1))
          << "cut at " << first << ", token " << t << ", " << trace_;
    }
  }
}

TEST_P(Invariance, ForkedSequences) {
  const Model model = GetParam().model();
  for (const std::int64_t shared : {1, 200, 255, 256, 257}) {
    const Ids prompt = ids(shared);
    KVCache cache = model.make_cache(1);
    forward(model, {prompt}, 0, shared, &cache);
    KVCache forks = cache.fork();
    forks.batch_repeat_interleave(3);
    ASSERT_EQ(forks.batch_size(), 3);
    ASSERT_EQ(forks.length(), shared);
    std::vector<Ids> rows;
    std::vector<Logits> alone;
    for (int i = 0; i < 4; ++i) {
      rows.push_back(prompt);
      const Ids rest = ids(70);
      rows.back().insert(rows.back().end(), rest.begin(), rest.end());
      alone.push_back(part(forward(model, rows.back()), shared, 70));
    }
    // Three go on as a batch, the one that they were made from after them, and then a reordered
    // batch of them.
    const Logits together = forward(model, {rows[0], rows[1], rows[2]}, shared, 70, &forks);
    for (std::int64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(part(together, i * 70, 70), alone[static_cast<std::size_t>(i)]) << trace_;
    }
    EXPECT_EQ(forward(model, {rows[3]}, shared, 70, &cache), alone[3]) << trace_;
    forks.batch_select_indices(Ids{2, 0, 2});
    const Ids next = ids(1);
    const auto longer = [&](int row) {
      Ids ids = rows[static_cast<std::size_t>(row)];
      ids.push_back(next[0]);
      return ids;
    };
    const std::vector<Ids> beams = {longer(2), longer(0), longer(2)};
    const Logits last = forward(model, beams, shared + 70, 1, &forks);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(part(last, i, 1),
                part(forward(model, beams[static_cast<std::size_t>(i)]), shared + 70, 1))
          << "shared " << shared << ", beam " << i << ", " << trace_;
    }
  }
}

TEST_P(Invariance, RolledBackSequences) {
  const Model model = GetParam().model();
  const Ids tokens = ids(300);
  const Logits whole = forward(model, tokens);
  const Ids other = ids(300);
  KVCache cache = model.make_cache(1);
  forward(model, {other}, 0, 300, &cache);
  for (const std::int64_t length : {0, 1, 31, 32, 33, 255, 256, 257, 299}) {
    // The first `length` tokens of this text, then others, which are forgotten.
    cache.crop(0);
    if (length > 0) forward(model, {tokens}, 0, length, &cache);
    const KVCache watcher = cache.fork();  // what it shares must not change
    forward(model, {other}, length, 300 - length, &cache);
    cache.crop(length);
    ASSERT_EQ(cache.length(), length);
    EXPECT_EQ(forward(model, {tokens}, length, 300 - length, &cache),
              part(whole, length, 300 - length))
        << "length " << length << ", " << trace_;
    KVCache again = watcher.fork();
    EXPECT_EQ(forward(model, {tokens}, length, 1, &again), part(whole, length, 1)) << trace_;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Invariance, testing::ValuesIn(kinds()),
                         [](const auto& kind) { return kind.param.name; });

TEST(Cache, SaysWhatItExpected) {
  const Model model = kinds().front().model();
  KVCache cache = model.make_cache(2, {.type = CacheType::q8_0});
  EXPECT_THROW(cache.crop(1), InvalidArgument);
  EXPECT_THROW(cache.crop(-1), InvalidArgument);
  EXPECT_THROW(cache.batch_repeat_interleave(0), InvalidArgument);
  EXPECT_THROW(cache.batch_select_indices(Ids{}), InvalidArgument);
  EXPECT_THROW(cache.batch_select_indices(Ids{2}), InvalidArgument);
  EXPECT_EQ(cache.batch_size(), 2);
}

TEST(Cache, CropCountsTokensThatAMaskHides) {
  const Model model = kinds().front().model();
  KVCache cache = model.make_cache(1);
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(Ids{0, 0, 7, 8, 9}, {1, 5});
  inputs.attention_mask = Tensor::from(Ids{0, 0, 1, 1, 1}, {1, 5});
  inputs.position_ids = Tensor::from(Ids{1, 1, 0, 1, 2}, {1, 5});
  model.forward(inputs, &cache);
  cache.crop(4);
  inputs.input_ids = Tensor::from(Ids{9}, {1, 1});
  inputs.attention_mask = Tensor::from(Ids{0, 0, 1, 1, 1}, {1, 5});
  inputs.position_ids = Tensor::from(Ids{2}, {1, 1});
  const ForwardOutput output = model.forward(inputs, &cache);
  EXPECT_EQ(Logits(output.logits->f32().begin(), output.logits->f32().end()),
            part(forward(model, {7, 8, 9}), 2, 1));
}

TEST(Cache, EightBitsStayNearFloat32) {
  const Kind exact{"", ModelType::diffllama, ComputeType::float32, CacheType::f32};
  Kind eight = exact;
  eight.cache = CacheType::q8_0;
  std::mt19937 random(5);
  Ids tokens(300);
  for (auto& id : tokens) id = static_cast<std::int64_t>(random() % kVocabulary);
  const Logits expected = forward(exact.model(), tokens);
  const Logits found = forward(eight.model(), tokens);
  float largest = 0;
  float worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    worst = std::max(worst, std::abs(expected[i] - found[i]));
  }
  // Each key and value is off by up to 2^-8 of the largest of its 32; some of that adds up in the
  // scores, and again in the second layer: never near the 2 that unrelated logits would show.
  EXPECT_TRUE(worst <= 0.1F * largest) << worst << " of " << largest;
  EXPECT_GT(worst, 0.0F);
}

}  // namespace
}  // namespace diffllama
