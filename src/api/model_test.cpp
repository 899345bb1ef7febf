#include "diffllama/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

ModelConfig tiny_config(Architecture architecture = Architecture::causal_lm) {
  ModelConfig config;
  config.architecture = architecture;
  config.vocab_size = 50;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 4;
  config.head_dim = 6;
  config.initializer_range = 0.3;
  config.pad_token_id = 0;
  return config;
}

LoadOptions options(int threads = 2, std::int64_t chunk = 512,
                    ComputeType compute = ComputeType::float32) {
  LoadOptions load;
  load.threads = threads;
  load.prefill_chunk = chunk;
  load.compute = compute;
  return load;
}

Tensor ids(std::vector<std::int64_t> values, Shape shape) {
  return Tensor::from(values, std::move(shape));
}

Tensor random_ids(std::mt19937& random, Shape shape) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(element_count(shape)));
  for (auto& value : values) value = std::uniform_int_distribution<std::int64_t>(1, 49)(random);
  return ids(std::move(values), std::move(shape));
}

std::vector<float> values(const std::optional<Tensor>& tensor) {
  return {tensor->f32().begin(), tensor->f32().end()};
}

std::string refusal(const Model& model, const std::function<void(ForwardInputs&)>& change) {
  ForwardInputs inputs;
  inputs.input_ids = ids({1, 2, 3, 4, 5, 6}, {2, 3});
  change(inputs);
  try {
    model.forward(inputs);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "diffllama-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(Model, RefusesInputsThatDoNotFit) {
  const Model model = Model::from_config(tiny_config(), 1, options());
  using testing::HasSubstr;
  const auto expect = [&](const std::function<void(ForwardInputs&)>& change, const char* message) {
    EXPECT_THAT(refusal(model, change), HasSubstr(message));
  };
  expect([](ForwardInputs& in) { in.input_ids.reset(); },
         "[forward] expected input_ids or inputs_embeds, got neither");
  expect(
      [](ForwardInputs& in) {
        in.inputs_embeds = Tensor(DType::float32, {2, 3, 24});
      },
      "got both");
  expect(
      [](ForwardInputs& in) {
        in.input_ids = ids({1, 50}, {1, 2});
      },
      "[input_ids] expected 0..49, got 50 at element 1");
  expect([](ForwardInputs& in) { in.input_ids = ids({1, -1}, {1, 2}); }, "got -1 at element 1");
  expect([](ForwardInputs& in) { in.input_ids = ids({}, {2, 0}); }, "[input_ids] expected [B, T]");
  expect([](ForwardInputs& in) { in.input_ids = ids({1, 2}, {2}); }, "[input_ids] expected [B, T]");
  expect(
      [](ForwardInputs& in) {
        in.input_ids = Tensor(DType::float32, {2, 3});
      },
      "[input_ids] expected int64 [2, 3]");
  expect(
      [](ForwardInputs& in) {
        in.attention_mask = ids({1, 1, 1, 1}, {2, 2});
      },
      "[attention_mask] expected [2, 3] or [2, 1, 3, 3], got [2, 2]");
  expect(
      [](ForwardInputs& in) {
        in.attention_mask = ids({1, 1, 2, 1, 1, 1}, {2, 3});
      },
      "[attention_mask] expected 0 or 1, got 2 at element 2");
  expect(
      [](ForwardInputs& in) {
        in.attention_mask = Tensor(DType::float32, {2, 3});
      },
      "expected int64 or bool");
  expect(
      [](ForwardInputs& in) {
        in.position_ids = ids({0, 1}, {1, 2});
      },
      "[position_ids] expected int64 [2, 3]");
  expect(
      [](ForwardInputs& in) {
        in.position_ids = ids({0, 1, -2}, {1, 3});
      },
      "[position_ids] expected 0..2^31, got -2");
  expect(
      [](ForwardInputs& in) {
        in.labels = ids({1, 2}, {1, 2});
      },
      "[labels] expected int64 [2, 3]");
  expect(
      [](ForwardInputs& in) {
        in.labels = ids({1, 2, 77, 4, 5, 6}, {2, 3});
      },
      "[labels] expected -100 or 0..49, got 77");
  expect([](ForwardInputs& in) { in.logits_to_keep = -1; },
         "[logits_to_keep] expected 0 (all) or more, got -1");
  expect(
      [](ForwardInputs& in) {
        in.logits_to_keep = 1;
        in.labels = in.input_ids;
      },
      "[labels] expected logits_to_keep 0 with labels");
}

TEST(Model, EveryHeadGivesItsOutputs) {
  ForwardInputs inputs;
  inputs.input_ids = ids({1, 2, 3, 4, 5, 0}, {2, 3});
  const auto run = [&](Architecture architecture) {
    return Model::from_config(tiny_config(architecture), 1, options()).forward(inputs);
  };
  EXPECT_EQ(run(Architecture::base_model).last_hidden_state->shape(), (Shape{2, 3, 24}));
  EXPECT_EQ(run(Architecture::causal_lm).logits->shape(), (Shape{2, 3, 50}));
  EXPECT_EQ(run(Architecture::sequence_classification).logits->shape(), (Shape{2, 2}));
  EXPECT_EQ(run(Architecture::question_answering).end_logits->shape(), (Shape{2, 3}));
  EXPECT_EQ(run(Architecture::token_classification).logits->shape(), (Shape{2, 3, 2}));
}

TEST(Model, CacheAndBatchAndChunksGiveTheSameBits) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const ComputeType compute : {ComputeType::float32, ComputeType::bfloat16}) {
    const Model model = Model::from_config(tiny_config(), 3, options(1, 512, compute));
    ForwardInputs inputs;
    inputs.input_ids = random_ids(random, {1, 290});
    const std::vector<float> whole = values(model.forward(inputs).logits);
    for (const auto& [threads, chunk] : {std::pair{2, 1}, {1, 7}, {2, 64}, {2, 1000}}) {
      const Model other = Model::from_config(tiny_config(), 3, options(threads, chunk, compute));
      EXPECT_EQ(values(other.forward(inputs).logits), whole)
          << "threads " << threads << ", chunk " << chunk;
    }

    KVCache cache = model.make_cache(1);
    std::vector<float> stepped;
    for (std::int64_t first = 0; first < 290;) {
      const std::int64_t count = std::min<std::int64_t>(
          290 - first, std::uniform_int_distribution<std::int64_t>(1, 90)(random));
      ForwardInputs part;
      const auto all = inputs.input_ids->i64();
      part.input_ids = ids({all.begin() + first, all.begin() + first + count}, {1, count});
      const std::vector<float> logits = values(model.forward(part, &cache).logits);
      stepped.insert(stepped.end(), logits.begin(), logits.end());
      first += count;
    }
    EXPECT_EQ(stepped, whole);
    EXPECT_EQ(cache.length(), 290);

    for (const std::int64_t batch : {2, 5}) {
      ForwardInputs many;
      many.input_ids = random_ids(random, {batch, 290});
      std::ranges::copy(inputs.input_ids->i64(), many.input_ids->i64().end() - 290);
      const std::vector<float> logits = values(model.forward(many).logits);
      EXPECT_EQ(std::vector<float>(logits.end() - static_cast<std::ptrdiff_t>(whole.size()),
                                   logits.end()),
                whole);
    }
  }
}

TEST(Model, LeftPaddingAndPackingGiveTheBitsOfEachSequenceAlone) {
  const Model model = Model::from_config(tiny_config(), 5, options());
  ForwardInputs alone;
  alone.input_ids = ids({7, 8, 9, 10}, {1, 4});
  const std::vector<float> expected = values(model.forward(alone).logits);

  ForwardInputs padded;
  padded.input_ids = ids({0, 0, 7, 8, 9, 10}, {1, 6});
  padded.attention_mask = ids({0, 0, 1, 1, 1, 1}, {1, 6});
  padded.position_ids = ids({1, 1, 0, 1, 2, 3}, {1, 6});
  std::vector<float> found = values(model.forward(padded).logits);
  EXPECT_EQ(std::vector<float>(found.begin() + std::ptrdiff_t{2} * 50, found.end()), expected);

  ForwardInputs packed;
  packed.input_ids = ids({3, 4, 5, 7, 8, 9, 10}, {1, 7});
  packed.position_ids = ids({0, 1, 2, 0, 1, 2, 3}, {1, 7});
  found = values(model.forward(packed).logits);
  EXPECT_EQ(std::vector<float>(found.begin() + std::ptrdiff_t{3} * 50, found.end()), expected);
}

TEST(Model, AFullMaskOfTheCausalRuleGivesItsBits) {
  const Model model = Model::from_config(tiny_config(), 5, options());
  ForwardInputs inputs;
  inputs.input_ids = ids({7, 8, 9, 10}, {1, 4});
  inputs.output_attentions = true;
  const ForwardOutput causal = model.forward(inputs);
  inputs.attention_mask = ids({1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1}, {1, 1, 4, 4});
  const ForwardOutput masked = model.forward(inputs);
  EXPECT_EQ(values(masked.logits), values(causal.logits));
  EXPECT_EQ(values(masked.attentions[1]), values(causal.attentions[1]));
}

TEST(Model, TheSameSeedGivesTheSameModelAndSavingKeepsIt) {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    ModelConfig config = tiny_config(Architecture::sequence_classification);
    config.dtype = dtype;
    config.attention_bias = true;
    const Model model = Model::from_config(config, 11, options());
    model.save_pretrained(folder.path());
    const Model loaded = Model::from_pretrained(folder.path(), options());
    ASSERT_EQ(loaded.parameter_names(), model.parameter_names());
    for (const std::string& name : model.parameter_names()) {
      EXPECT_EQ(values(loaded.parameter(name)), values(model.parameter(name))) << name;
    }
    ForwardInputs inputs;
    inputs.input_ids = ids({1, 2, 3}, {1, 3});
    EXPECT_EQ(values(loaded.forward(inputs).logits), values(model.forward(inputs).logits));
    EXPECT_NE(values(Model::from_config(config, 12, options()).parameter("score.weight")),
              values(model.parameter("score.weight")));
  }
}

TEST(Model, InitialisesAsTransformersDoes) {
  ModelConfig config = tiny_config();
  config.vocab_size = 4000;
  config.initializer_range = 0.05;
  const Model model = Model::from_config(config, 1, options());
  const auto moments = [&](const std::string& name, std::size_t skip) {
    const std::vector<float> x = values(model.parameter(name));
    double sum = 0, squares = 0;
    for (std::size_t i = skip; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]);
      squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    const auto n = static_cast<double>(x.size() - skip);
    return std::pair(sum / n, std::sqrt(squares / n));
  };
  // 96,000 values: five standard errors.
  const auto [mean, deviation] = moments("model.embed_tokens.weight", 24);
  EXPECT_LT(std::abs(mean), 5 * 0.05 / std::sqrt(96'000));
  EXPECT_LT(std::abs(deviation - 0.05), 5 * 0.05 / std::sqrt(2 * 96'000));
  const std::vector<float> embeddings = values(model.parameter("model.embed_tokens.weight"));
  EXPECT_THAT(std::vector<float>(embeddings.begin(), embeddings.begin() + 24),
              testing::Each(0.0F));  // the padding row
  EXPECT_THAT(values(model.parameter("model.norm.weight")), testing::Each(1.0F));
  EXPECT_GT(moments("model.layers.0.self_attn.lambda_q1", 0).second, 0.01);
}

TEST(Model, ResizesTokenEmbeddings) {
  Model model = Model::from_config(tiny_config(), 1, options());
  const std::vector<float> before = values(model.parameter("model.embed_tokens.weight"));
  ForwardInputs inputs;
  inputs.input_ids = ids({1, 2, 3}, {1, 3});
  const std::vector<float> logits = values(model.forward(inputs).logits);

  model.resize_token_embeddings(53);
  const std::vector<float> grown = values(model.parameter("model.embed_tokens.weight"));
  EXPECT_EQ(std::vector<float>(grown.begin(), grown.begin() + std::ptrdiff_t{50} * 24), before);
  double mean = 0;
  for (std::size_t row = 0; row < 50; ++row) mean += static_cast<double>(before[row * 24]) / 50;
  EXPECT_NEAR(grown[std::size_t{52} * 24], mean, 1e-6);
  EXPECT_EQ(model.forward(inputs).logits->shape(), (Shape{1, 3, 53}));
  inputs.input_ids = ids({52}, {1, 1});
  EXPECT_EQ(model.forward(inputs).logits->shape(), (Shape{1, 1, 53}));

  model.resize_token_embeddings(50);
  inputs.input_ids = ids({1, 2, 3}, {1, 3});
  EXPECT_EQ(values(model.forward(inputs).logits), logits);
  EXPECT_THROW(model.resize_token_embeddings(0), ConfigError);
}

TEST(Model, RefusesACacheOfAnotherBatchAndAWrongConfig) {
  const Model model = Model::from_config(tiny_config(), 1, options());
  KVCache cache = model.make_cache(3);
  ForwardInputs inputs;
  inputs.input_ids = ids({1, 2}, {1, 2});
  EXPECT_THROW(model.forward(inputs, &cache), InvalidArgument);
  EXPECT_THROW(model.make_cache(0), InvalidArgument);
  EXPECT_THROW(Model::from_config(tiny_config(), 1, options(1, 0)), InvalidArgument);
  ModelConfig odd = tiny_config();
  odd.num_key_value_heads = 1;
  EXPECT_THROW(Model::from_config(odd, 1, options()), ConfigError);
}

TEST(Model, AForwardThatIsRefusedLeavesTheCacheAsItWas) {
  const Model model = Model::from_config(tiny_config(), 1, options());
  const auto logits_of = [&](const std::vector<std::int64_t>& tokens, KVCache& cache) {
    ForwardInputs inputs;
    inputs.input_ids = ids(tokens, {1, std::ssize(tokens)});
    return values(model.forward(inputs, &cache).logits);
  };
  KVCache untouched = model.make_cache(1);
  logits_of({1, 2, 3}, untouched);
  KVCache cache = untouched.fork();
  ForwardInputs refused;
  refused.input_ids = ids({4, 5, 6}, {1, 3});
  refused.labels = ids({4, 5, 6}, {1, 3});
  refused.output_gradients = true;
  EXPECT_THROW(model.forward(refused, &cache), InvalidArgument);
  EXPECT_EQ(cache.length(), 3);
  refused.output_gradients = false;
  refused.labels = ids({4, 5, 77}, {1, 3});  // seen only when the layers have run
  EXPECT_THROW(model.forward(refused, &cache), InvalidArgument);
  EXPECT_EQ(cache.length(), 3);
  EXPECT_EQ(logits_of({7, 8}, cache), logits_of({7, 8}, untouched));
}

}  // namespace
}  // namespace diffllama
