#include "generation/logits_processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "config/generation_config.h"
#include "generation/logits_warpers.h"
#include "generation/token_selector.h"

namespace diffllama {
namespace {

using ::testing::ElementsAre;

TEST(RepetitionPenalty, CountsAnIdOnceAndIgnoresIdsOutside) {
  std::vector<float> scores = {2, -2, 0, 5};
  LogitsScratch scratch;
  repetition_penalty(scores, std::vector<std::int64_t>{0, 1, 0, 2, 4, -1, 0}, 2, scratch);
  EXPECT_THAT(scores, ElementsAre(1, -4, 0, 5));
}

TEST(RepetitionPenalty, ForgetsTheCallBefore) {
  LogitsScratch scratch;
  std::vector<float> scores = {2, 2};
  repetition_penalty(scores, std::vector<std::int64_t>{0}, 2, scratch);
  repetition_penalty(scores, std::vector<std::int64_t>{1}, 2, scratch);
  EXPECT_THAT(scores, ElementsAre(1, 1));
}

TEST(NoRepeatNgram, RulesOutWhatFollowedTheSamePrefix) {
  std::vector<float> scores(6, 1);
  no_repeat_ngram(scores, std::vector<std::int64_t>{1, 2, 3, 1, 2, 4, 1, 2}, 3);
  EXPECT_THAT(scores, ElementsAre(1, 1, 1, kRuledOut, kRuledOut, 1));
}

TEST(NoRepeatNgram, SizeOneRulesOutEveryIdSeen) {
  std::vector<float> scores(4, 1);
  no_repeat_ngram(scores, std::vector<std::int64_t>{3, 1, 9}, 1);
  EXPECT_THAT(scores, ElementsAre(1, kRuledOut, 1, kRuledOut));
}

TEST(NoRepeatNgram, LeavesScoresWhileThereIsNoWholeRun) {
  std::vector<float> scores(3, 1);
  no_repeat_ngram(scores, std::vector<std::int64_t>{1, 1}, 3);
  no_repeat_ngram(scores, {}, 1);
  no_repeat_ngram(scores, std::vector<std::int64_t>{1, 1},
                  std::numeric_limits<std::int64_t>::max());
  EXPECT_THAT(scores, ElementsAre(1, 1, 1));
}

TEST(PresenceAndFrequencyPenalty, CountGeneratedTokens) {
  std::vector<float> scores = {1, 1, 1, 1};
  LogitsScratch scratch;
  presence_and_frequency_penalty(scores, std::vector<std::int64_t>{1, 2, 1, 9, -4}, 0.5, 0.25,
                                 scratch);
  EXPECT_THAT(scores, ElementsAre(1, 0, 0.25, 1));
  GenerationConfig config;
  config.presence_penalty = 3;
  TokenSelector selector(config, {});
  scores = {2, 1, 0};  // of the prompt's 0 and the new 1
  selector.process(scores, {.ids = std::vector<std::int64_t>{0, 1}, .prompt_length = 1});
  EXPECT_THAT(scores, ElementsAre(2, -2, 0));
}

TEST(SequenceBias, AddsUpAndTheLastOfTheSameCounts) {
  GenerationConfig config;
  config.sequence_bias = {{.ids = {2}, .bias = 1},
                          {.ids = {1, 2}, .bias = 2},
                          {.ids = {2}, .bias = 4},
                          {.ids = {0, 2}, .bias = 8},
                          {.ids = {1, 1, 1, 2}, .bias = 16}};
  config.logit_bias = {{0, kRuledOut}, {2, 0.5}, {77, 1}};
  TokenSelector selector(config, {});
  std::vector<float> scores(3, 0);
  selector.process(scores, {.ids = std::vector<std::int64_t>{0, 1}, .prompt_length = 2});
  EXPECT_THAT(scores, ElementsAre(kRuledOut, 0, 6.5));
}

TEST(TopK, KeepsTies) {
  LogitsScratch scratch;
  std::vector<float> scores = {1, 3, 2, 2, 0};
  top_k(scores, 2, scratch);
  EXPECT_THAT(scores, ElementsAre(kRuledOut, 3, 2, 2, kRuledOut));
}

TEST(TopK, MoreThanTheVocabularyKeepsAll) {
  LogitsScratch scratch;
  std::vector<float> scores = {1, 3};
  top_k(scores, std::numeric_limits<std::int64_t>::max(), scratch);
  EXPECT_THAT(scores, ElementsAre(1, 3));
}

TEST(TopP, ZeroKeepsTheMostLikelyAlone) {
  LogitsScratch scratch;
  std::vector<float> scores = {1, 3, kRuledOut, 3, 0};
  top_p(scores, 0, scratch);
  EXPECT_THAT(scores, ElementsAre(kRuledOut, kRuledOut, kRuledOut, 3, kRuledOut));
}

TEST(TopP, KeepsTheSmallestSetThatPassesP) {
  LogitsScratch scratch;
  std::vector<float> scores;
  for (const double p : {0.1, 0.4, 0.3, 0.2}) scores.push_back(static_cast<float>(std::log(p)));
  const std::vector<float> before = scores;
  top_p(scores, 0.65, scratch);
  EXPECT_THAT(scores, ElementsAre(kRuledOut, before[1], before[2], kRuledOut));
}

TEST(MinP, IsRelativeToTheMostLikely) {
  LogitsScratch scratch;
  std::vector<float> scores;
  for (const double p : {0.05, 0.5, 0.25, 0.2}) scores.push_back(static_cast<float>(std::log(p)));
  const std::vector<float> before = scores;
  min_p(scores, 0.45, scratch);
  EXPECT_THAT(scores, ElementsAre(kRuledOut, before[1], before[2], kRuledOut));
}

TEST(MinP, OneKeepsTheMostLikelyAndItsTies) {
  LogitsScratch scratch;
  std::vector<float> scores = {1, 4, 4, 2};
  min_p(scores, 1, scratch);
  EXPECT_THAT(scores, ElementsAre(kRuledOut, 4, 4, kRuledOut));
}

TEST(Warpers, LeaveScoresThatAreAllRuledOut) {
  LogitsScratch scratch;
  std::vector<float> scores(5, kRuledOut);
  top_k(scores, 2, scratch);
  top_p(scores, 0.5, scratch);
  min_p(scores, 0.5, scratch);
  EXPECT_THAT(scores, ::testing::Each(kRuledOut));
}

// tools/make_generation_goldens.py: what transformers' processors make of the same scores.
TEST(LogitsProcessors, EqualTransformers) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/logits_processors.json");
  ASSERT_TRUE(file) << "tests/golden/logits_processors.json";
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["cases"].size(), 150U);
  for (const auto& expected : golden["cases"]) {
    const auto& options = expected["options"];
    const auto& context = golden["contexts"][expected["context"].get<std::string>()];
    SCOPED_TRACE(expected["scores"].get<std::string>() + " " + options.dump() + " " +
                 context.dump());
    auto ids = context["prompt_ids"].get<std::vector<std::int64_t>>();
    const auto prompt_length = static_cast<std::int64_t>(ids.size());
    for (const std::int64_t id : context["new_ids"]) ids.push_back(id);
    GenerationConfig config;
    config.do_sample = true;
    config.top_k = 0;
    config.max_new_tokens = 20;
    read_generation_fields(options, "options", config);
    ASSERT_EQ(find_problem(config), "");
    TokenSelector selector(config, options.value("eos_token_id", std::vector<std::int64_t>{2}));
    auto scores = golden["scores"][expected["scores"].get<std::string>()].get<std::vector<float>>();
    selector.process(scores, {.ids = ids, .prompt_length = prompt_length});
    ASSERT_EQ(scores.size(), expected["processed"].size());
    // log(softmax) is summed in float64 here; the others are the same operations in float32.
    const float bound = config.renormalize_logits ? 4e-6F : 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const auto& value = expected["processed"][i];
      const float right = value.is_null() ? kRuledOut : value.get<float>();
      EXPECT_TRUE(scores[i] == right || std::abs(scores[i] - right) <= bound)
          << "token " << i << ": " << scores[i] << ", expected " << right;
    }
  }
}

}  // namespace
}  // namespace diffllama
