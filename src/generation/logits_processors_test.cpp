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

#include "generation/token_selector.h"

namespace diffllama {
namespace {

using ::testing::ElementsAre;

constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

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
  auto ids = golden["prompt_ids"].get<std::vector<std::int64_t>>();
  const auto prompt_length = static_cast<std::int64_t>(ids.size());
  for (const std::int64_t id : golden["new_ids"]) ids.push_back(id);
  ASSERT_GE(golden["cases"].size(), 50U);
  for (const auto& expected : golden["cases"]) {
    const auto& options = expected["options"];
    SCOPED_TRACE(expected["scores"].get<std::string>() + " " + options.dump());
    GenerationConfig config;
    config.do_sample = true;
    config.top_k = options.value("top_k", 0);
    config.repetition_penalty = options.value("repetition_penalty", 1.0);
    config.no_repeat_ngram_size = options.value("no_repeat_ngram_size", 0);
    config.min_new_tokens = options.value("min_new_tokens", 0);
    config.temperature = options.value("temperature", 1.0);
    config.top_p = options.value("top_p", 1.0);
    config.min_p = options.value("min_p", 0.0);
    TokenSelector selector(config, options.value("eos_token_id", std::vector<std::int64_t>{2}));
    auto scores = golden["scores"][expected["scores"].get<std::string>()].get<std::vector<float>>();
    selector.process(scores, {.ids = ids, .prompt_length = prompt_length});
    ASSERT_EQ(scores.size(), expected["processed"].size());
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const auto& value = expected["processed"][i];
      EXPECT_EQ(scores[i], value.is_null() ? kRuledOut : value.get<float>()) << "token " << i;
    }
  }
}

}  // namespace
}  // namespace diffllama
