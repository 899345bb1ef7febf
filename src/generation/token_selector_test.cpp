#include "generation/token_selector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "base/random.h"
#include "diffllama/error.h"
#include "diffllama/logits_processor.h"
#include "generation/constraints/compiled_constraint.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(Argmax, GivesTheFirstMaximum) {
  EXPECT_EQ(argmax(std::vector<float>{1, 5, 2, 5}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-kInfinity, -kInfinity}), 0);
}

// Scores of few different values, so that the largest is there many times, in and across blocks.
TEST(Argmax, FirstOfTheLargestAmongMany) {
  for (std::uint64_t length = 1; length < 1200; length += 1 + length / 7) {
    SCOPED_TRACE(length);
    const Random random(length, 0);
    std::vector<float> scores(length);
    for (std::uint64_t i = 0; i < length; ++i) {
      scores[i] = static_cast<float>(std::floor(random.uniform(i) * 40) - 20);
    }
    EXPECT_EQ(argmax(scores), std::ranges::max_element(scores) - scores.begin());
    scores.back() = 100;
    EXPECT_EQ(argmax(scores), std::ssize(scores) - 1);
  }
}

TEST(Sample, DividesTheUnitIntervalByProbability) {
  std::vector<float> scores;
  for (const double p : {0.25, 0.0, 0.5, 0.25}) scores.push_back(static_cast<float>(std::log(p)));
  LogitsScratch scratch;
  EXPECT_EQ(sample(scores, 0, scratch), 0);
  EXPECT_EQ(sample(scores, 0.2499, scratch), 0);
  EXPECT_EQ(sample(scores, 0.2501, scratch), 2);
  EXPECT_EQ(sample(scores, 0.7499, scratch), 2);
  EXPECT_EQ(sample(scores, 0.7501, scratch), 3);
  EXPECT_EQ(sample(scores, 1 - 1e-16, scratch), 3);
}

TEST(Sample, NeverGivesATokenThatIsRuledOut) {
  LogitsScratch scratch;
  const std::vector<float> scores = {-kInfinity, 1, -kInfinity};
  for (const double u : {0.0, 0.5, 1 - 1e-16}) EXPECT_EQ(sample(scores, u, scratch), 1);
}

TEST(Sample, RefusesScoresWithoutAChoice) {
  LogitsScratch scratch;
  EXPECT_THAT([&] { sample(std::vector<float>(3, -kInfinity), 0.5, scratch); },
              ThrowsMessage<Error>(HasSubstr("every one ruled out")));
  EXPECT_THAT(
      [&] {
        sample(std::vector<float>{0, kInfinity}, 0.5, scratch);
      },
      ThrowsMessage<Error>(HasSubstr("got infinity")));
}

// Pearson's statistic of counts against softmax, 9 degrees of freedom: 40 is passed once in 10^5
// seeds, and the seed is fixed.
TEST(TokenSelector, DrawsWithTheProbabilitiesOfSoftmax) {
  constexpr int kDraws = 20000;
  constexpr int kTokens = 10;
  std::vector<float> logits;
  double total = 0;
  for (int i = 0; i < kTokens; ++i) {
    logits.push_back(0.3F * static_cast<float>(i % 7) - 2.0F);
    total += std::exp(logits.back());
  }
  GenerationConfig config;
  config.do_sample = true;
  config.top_k = 0;
  config.seed = 12;
  TokenSelector selector(config, {});
  std::vector<int> counts(kTokens);
  const std::vector<std::int64_t> ids(1);
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<float> scores = logits;
    const std::int64_t id = selector.select(
        scores, {.ids = ids, .prompt_length = 1, .stream = static_cast<std::uint64_t>(draw)});
    ++counts[static_cast<std::size_t>(id)];
  }
  double statistic = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = kDraws * std::exp(logits[i]) / total;
    statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(statistic, 40) << "seed " << config.seed;
  EXPECT_GT(statistic, 0.5) << "seed " << config.seed;  // as improbable: not random
}

TEST(TokenSelector, ADrawDependsOnSeedStreamAndStepAlone) {
  GenerationConfig config;
  config.do_sample = true;
  config.seed = 5;
  const std::vector<float> logits(40, 0.0F);
  const std::vector<std::int64_t> ids(9, 3);
  const auto draw = [&](std::uint64_t seed, std::uint64_t stream, std::size_t length) {
    config.seed = seed;
    TokenSelector selector(config, {});
    std::vector<float> scores = logits;
    return selector.select(
        scores, {.ids = std::span(ids).first(length), .prompt_length = 2, .stream = stream});
  };
  EXPECT_EQ(draw(5, 1, 4), draw(5, 1, 4));
  std::vector<std::int64_t> drawn;
  for (const std::uint64_t seed : {5, 6}) {
    for (const std::uint64_t stream : {0, 1}) {
      for (std::size_t length = 2; length < 9; ++length) {
        drawn.push_back(draw(seed, stream, length));
      }
    }
  }
  std::ranges::sort(drawn);
  const auto distinct = std::unique(drawn.begin(), drawn.end()) - drawn.begin();
  EXPECT_GT(distinct, 10);  // 28 draws of 40 values give about 20
}

TEST(TokenSelector, ZeroTemperatureAndNoDoSampleAreGreedy) {
  for (const bool do_sample : {false, true}) {
    GenerationConfig config;
    config.do_sample = do_sample;
    config.temperature = do_sample ? 0 : 5;
    TokenSelector selector(config, {});
    std::vector<float> scores = {0, 0.1F, 0.1F};
    EXPECT_EQ(selector.select(scores, {.ids = {}}), 1);
  }
}

TEST(TokenSelector, RefusesToChooseWhereAllIsRuledOut) {
  GenerationConfig config;
  config.suppress_tokens = {0, 1, 2};
  for (const bool do_sample : {false, true}) {
    config.do_sample = do_sample;
    TokenSelector selector(config, {});
    std::vector<float> scores = {0, 9, 0};
    EXPECT_THAT([&] { selector.select(scores, {.ids = {}}); },
                ThrowsMessage<Error>(HasSubstr("every one ruled out")));
  }
}

TEST(TokenSelector, RefusesNaN) {
  for (const bool do_sample : {false, true}) {
    GenerationConfig config;
    config.do_sample = do_sample;
    TokenSelector selector(config, {});
    std::vector<float> scores = {0, 9, kNaN, 0};
    const std::vector<std::int64_t> ids(7);
    EXPECT_THAT([&] { selector.select(scores, {.ids = ids}); },
                ThrowsMessage<Error>(HasSubstr("got NaN for token id 2 after 7 tokens")));
  }
}

TEST(TokenSelector, MasksEosUntilTheLeastLength) {
  const std::vector<std::int64_t> ids(5);
  const auto chosen = [&](const GenerationConfig& config) {
    TokenSelector selector(config, {1, 3, 900});
    std::vector<float> scores = {0, 9, 1, 8};
    return selector.select(scores, {.ids = ids, .prompt_length = 2});
  };
  GenerationConfig config;
  EXPECT_EQ(chosen(config), 1);
  config.min_new_tokens = 3;
  EXPECT_EQ(chosen(config), 1);
  config.min_new_tokens = 4;
  EXPECT_EQ(chosen(config), 2);
  config.min_length = 5;  // in place of min_new_tokens
  EXPECT_EQ(chosen(config), 1);
  config.min_length = 6;
  EXPECT_EQ(chosen(config), 2);
}

class Forbid : public LogitsProcessor {
 public:
  explicit Forbid(std::int64_t id, float score) : id_(id), score_(score) {}
  void process(std::span<const std::int64_t> ids, std::span<float> scores) override {
    seen = std::ssize(ids);
    scores[static_cast<std::size_t>(id_)] = score_;
  }
  std::int64_t seen = 0;

 private:
  std::int64_t id_;
  float score_;
};

TEST(TokenSelector, RunsTheCallersProcessors) {
  const auto first = std::make_shared<Forbid>(1, -kInfinity);
  GenerationConfig config;
  config.logits_processors = {first, std::make_shared<Forbid>(3, -kInfinity)};
  TokenSelector selector(config, {});
  std::vector<float> scores = {0, 9, 1, 8};
  const std::vector<std::int64_t> ids(5);
  EXPECT_EQ(selector.select(scores, {.ids = ids, .prompt_length = 2}), 2);
  EXPECT_EQ(first->seen, 5);
  config.logits_processors = {std::make_shared<Forbid>(0, kNaN)};
  EXPECT_THAT([&] { TokenSelector(config, {}).select(scores, {.ids = ids}); },
              ThrowsMessage<Error>(HasSubstr("got NaN for token id 0")));
}

// Greedy and drawn, two sequences in turn, EOS only where the text is whole.
TEST(TokenSelector, KeepsToTheConstraint) {
  TokenBytes bytes = {.tokens = {"a", "b", "ab", "", "c"}, .first_tokens = {}};
  GenerationConfig config;
  config.constraint = compile_regex("(ab)+c?", bytes, {});
  TokenSelector selector(config, {3});
  const auto choose = [&](std::vector<std::int64_t> ids, std::uint64_t stream) {
    std::vector<float> scores = {1, 2, 0, 9, 3, 99};  // the last has no token
    ids.insert(ids.begin(), 4);                       // the prompt may be anything
    return selector.select(scores, {.ids = ids, .prompt_length = 1, .stream = stream});
  };
  EXPECT_EQ(choose({}, 0), 0);
  EXPECT_EQ(choose({0}, 0), 1);
  EXPECT_EQ(choose({2}, 1), 3);
  EXPECT_EQ(choose({0, 1}, 0), 3);
  EXPECT_EQ(choose({2, 4}, 1), 3);
  EXPECT_EQ(choose({0}, 0), 1);  // back again, as after tokens that were not kept
  config.suppress_tokens = {1};
  EXPECT_THAT(
      [&] {
        TokenSelector other(config, {3});
        std::vector<float> scores(6, 0);
        other.select(scores, {.ids = std::vector<std::int64_t>{0}, .prompt_length = 0});
      },
      ThrowsMessage<Error>(HasSubstr("constraint: expected a token that goes on")));
  config.suppress_tokens = {};
  EXPECT_THAT(
      [&] {
        TokenSelector other(config, {});
        std::vector<float> scores(6, 0);
        other.select(scores, {.ids = std::vector<std::int64_t>{2, 4}, .prompt_length = 0});
      },
      ThrowsMessage<Error>(HasSubstr("a whole text and no EOS token to end it")));
}

// Where an ordinary token ends sequences, it comes as the end alone.
TEST(TokenSelector, EndsAConstrainedTextWithAnOrdinaryToken) {
  TokenBytes bytes = {.tokens = {"a", "b", "ab"}, .first_tokens = {}};
  GenerationConfig config;
  config.constraint = compile_regex("(ab)+", bytes, {});
  TokenSelector selector(config, {2});
  const auto choose = [&](const std::vector<std::int64_t>& ids) {
    std::vector<float> scores = {1, 1, 9};
    return selector.select(scores, {.ids = ids, .prompt_length = 0});
  };
  EXPECT_EQ(choose({}), 0);  // not "ab", which would end the sequence
  EXPECT_EQ(choose({0, 1}), 2);
}

TEST(TokenSelector, SaysWhatKeepsAWholeTextFromEnding) {
  TokenBytes bytes = {.tokens = {"a", "b", ""}, .first_tokens = {}};
  const auto expect = [&](GenerationConfig config, const char* message) {
    config.constraint = compile_regex("ab", bytes, {});
    TokenSelector selector(config, {2});
    std::vector<float> scores(3, 0);
    const std::vector<std::int64_t> ids = {1, 1, 1, 0, 1};
    EXPECT_THAT([&] { selector.select(scores, {.ids = ids, .prompt_length = 3}); },
                ThrowsMessage<Error>(HasSubstr(message)));
  };
  GenerationConfig config;
  config.min_new_tokens = 8;
  expect(config,
         "a whole text whose end, EOS, is ruled out by min_new_tokens 8, after 2 new tokens");
  config = {};
  config.min_length = 6;
  expect(config, "is ruled out by min_length 6, after 2 new tokens");
  config = {};
  config.suppress_tokens = {2};
  expect(config, "is ruled out by suppress_tokens, after 2 new tokens");
}

// Scores would overflow: the likeliest is drawn, of equal ones each.
TEST(TokenSelector, TakesTheSmallestTemperatures) {
  for (const double temperature : {1e-300, 1e-44, 1e-38}) {
    GenerationConfig config;
    config.do_sample = true;
    config.temperature = temperature;
    std::vector<int> counts(4);
    for (std::uint64_t stream = 0; stream < 40; ++stream) {
      TokenSelector selector(config, {});
      std::vector<float> scores = {-3, 5, 4.999F, 5};
      const std::vector<std::int64_t> ids = {0};
      ++counts[static_cast<std::size_t>(
          selector.select(scores, {.ids = ids, .prompt_length = 1, .stream = stream}))];
      scores = {-3, -5, -INFINITY, -3.001F};
      EXPECT_EQ(selector.select(scores, {.ids = ids, .prompt_length = 1, .stream = stream}), 0);
    }
    EXPECT_EQ(counts[0] + counts[2], 0) << temperature;
    EXPECT_GT(std::min(counts[1], counts[3]), 0) << temperature;
  }
}

}  // namespace
}  // namespace diffllama
