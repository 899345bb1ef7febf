#include "tasks/perplexity_sum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <random>
#include <string>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "diffllama/tokenizer.h"
#include "generation/test_model.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Ids = std::vector<std::int64_t>;

const std::string kTiny = DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";

// tools/make_generation_goldens.py: what transformers gives for the same documents.
TEST(PerplexitySum, EqualsTransformers) {
  std::ifstream golden_file(DIFFLLAMA_SOURCE_DIR "/tests/golden/perplexity.json");
  ASSERT_TRUE(golden_file) << "tests/golden/perplexity.json";
  const auto golden = nlohmann::json::parse(golden_file)["files"]["tests/data/documents.jsonl"];
  const auto model = TestModel::open(kTiny);
  const ForwardModel forward_model = model->forward_model();
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  PerplexitySum perplexity(forward_model, model->parallel());
  std::ifstream documents(DIFFLLAMA_SOURCE_DIR "/tests/data/documents.jsonl");
  for (std::string line; std::getline(documents, line);) {
    perplexity.add(tokenizer.encode(nlohmann::json::parse(line)["text"].get<std::string>()).ids);
  }
  EXPECT_EQ(perplexity.tokens(), golden["tokens"].get<std::int64_t>());
  EXPECT_NEAR(perplexity.value(), golden["perplexity"].get<double>(), 1e-3);
}

Ids random_ids(std::mt19937& rng, std::size_t count) {
  Ids ids(count);
  for (std::int64_t& id : ids) id = static_cast<std::int64_t>(rng() % 61);
  return ids;
}

TEST(PerplexitySum, CutsDocumentsIntoWindowsOfTheirOwn) {
  std::mt19937 rng(8);
  const ModelConfig config = TestModel::small_config();  // windows of 64
  const TestModel model(config, initial_parameters(config, 3));
  const ForwardModel forward_model = model.forward_model();
  double sum = 0;
  std::int64_t tokens = 0;
  PerplexitySum together(forward_model, model.parallel());
  for (const std::size_t length : {0, 1, 2, 63, 64, 65, 66, 200, 3000, 5}) {
    const Ids ids = random_ids(rng, length);
    together.add(ids);
    for (std::size_t first = 0; first < ids.size(); first += 64) {
      PerplexitySum alone(forward_model, model.parallel());
      alone.add(std::span(ids).subspan(first, std::min<std::size_t>(64, ids.size() - first)));
      sum += alone.negative_log_likelihood();
      tokens += alone.tokens();
    }
  }
  EXPECT_EQ(together.documents(), 10);
  EXPECT_EQ(together.tokens(), tokens);
  EXPECT_EQ(together.tokens(), 1 + 62 + 63 + 63 + 64 + 196 + 2953 + 4);
  // The same losses, summed in another order.
  EXPECT_NEAR(together.negative_log_likelihood(), sum, 1e-9 * sum);
  EXPECT_DOUBLE_EQ(together.value(),
                   std::exp(together.negative_log_likelihood() / static_cast<double>(tokens)));
}

TEST(PerplexitySum, RefusesWhatItCannotMeasure) {
  const ModelConfig config = TestModel::small_config();
  const TestModel model(config, initial_parameters(config, 3));
  const ForwardModel forward_model = model.forward_model();
  PerplexitySum perplexity(forward_model, model.parallel());
  EXPECT_THAT([&] { perplexity.value(); },
              ThrowsMessage<InvalidArgument>(HasSubstr("two tokens or more, got none in 0")));
  EXPECT_THAT(
      [&] {
        perplexity.add(Ids{4, 61});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("expected 0..60, got 61")));

  ModelConfig other = config;
  other.architecture = Architecture::token_classification;
  const TestModel tagger(other, initial_parameters(other, 3));
  EXPECT_THAT([&] { PerplexitySum(tagger.forward_model(), tagger.parallel()); },
              ThrowsMessage<InvalidArgument>(HasSubstr("got DiffLlamaForTokenClassification")));
}

TEST(PerplexitySum, RefusesNaN) {
  const ModelConfig config = TestModel::small_config();
  Parameters parameters = initial_parameters(config, 1);
  parameters.at("lm_head.weight").read_row = [](std::int64_t, std::span<float> out) {
    std::ranges::fill(out, std::numeric_limits<float>::quiet_NaN());
  };
  const TestModel model(config, parameters);
  const ForwardModel forward_model = model.forward_model();
  PerplexitySum perplexity(forward_model, model.parallel());
  perplexity.add(Ids{1, 2, 3});
  EXPECT_THAT([&] { perplexity.value(); }, ThrowsMessage<Error>(HasSubstr("got NaN")));
}

}  // namespace
}  // namespace diffllama
