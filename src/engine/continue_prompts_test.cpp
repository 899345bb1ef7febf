#include "engine/continue_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string>

#include <nlohmann/json.hpp>

#include "config/generation_config.h"
#include "diffllama/constraint.h"
#include "diffllama/error.h"
#include "generation/test_model.h"

namespace diffllama {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;
using Ids = std::vector<std::int64_t>;

const std::string kTiny = DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";

std::vector<GeneratedSequence> run(const TestModel& model, const std::vector<Ids>& prompts,
                                   const GenerationConfig& config,
                                   const GenerationHooks& hooks = {}) {
  return continue_prompts(model.forward_model(), model.parallel(), prompts, config, hooks);
}

std::vector<Ids> ids_of(const std::vector<GeneratedSequence>& sequences) {
  std::vector<Ids> ids;
  ids.reserve(sequences.size());
  for (const GeneratedSequence& sequence : sequences) ids.push_back(sequence.ids);
  return ids;
}

std::unique_ptr<TestModel> small_model(int threads = 1, std::int64_t prefill_chunk = 512) {
  const ModelConfig config = TestModel::small_config();
  return std::make_unique<TestModel>(config, initial_parameters(config, 7), threads, prefill_chunk);
}

GenerationConfig options(std::int64_t max_new_tokens, bool ignore_eos = true) {
  GenerationConfig config;
  config.max_new_tokens = max_new_tokens;
  config.ignore_eos = ignore_eos;
  return config;
}

std::vector<Ids> random_prompts(std::size_t count, std::int64_t vocab_size, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<Ids> prompts(count);
  for (Ids& ids : prompts) {
    ids.resize(1 + rng() % 30);
    for (std::int64_t& id : ids) id = static_cast<std::int64_t>(rng() % vocab_size);
  }
  return prompts;
}

GenerationConfig golden_config(const nlohmann::json& fields) {
  GenerationConfig config;
  for (const auto& [name, value] : fields.items()) {
    if (name == "max_new_tokens") {
      config.max_new_tokens = value;
    } else if (name == "min_new_tokens") {
      config.min_new_tokens = value;
    } else if (name == "repetition_penalty") {
      config.repetition_penalty = value;
    } else if (name == "no_repeat_ngram_size") {
      config.no_repeat_ngram_size = value;
    } else if (name == "eos_token_id") {
      config.eos_token_ids = value.is_array() ? value.get<Ids>() : Ids{value};
    } else if (name == "stop_strings") {
      config.stop_strings = value;
    } else {
      ADD_FAILURE() << "unknown option of the golden: " << name;
    }
  }
  return config;
}

// tools/make_generation_goldens.py: greedy ids of transformers.
TEST(Generate, EqualsTransformers) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/generate.json");
  ASSERT_TRUE(file) << "tests/golden/generate.json";
  const auto golden = nlohmann::json::parse(file);
  const auto model = TestModel::open(kTiny);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  std::map<std::string, nlohmann::json> by_name;
  for (const auto& record : golden["sequences"]) {
    SCOPED_TRACE(record["name"].get<std::string>());
    by_name[record["name"]] = record;
    const GenerationConfig config = golden_config(record["options"]);
    const auto results =
        run(*model, {record["prompt_ids"].get<Ids>()}, config, {.tokenizer = &tokenizer});
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].ids, record["ids"].get<Ids>());
    if (results[0].stop_reason == StopReason::stop_string) {
      // transformers' text goes on to the end of the last token.
      EXPECT_THAT(record["text"].get<std::string>(), HasSubstr(results[0].text));
      EXPECT_LT(results[0].text.size(), record["text"].get<std::string>().size());
    } else {
      EXPECT_EQ(results[0].text, record["text"].get<std::string>());
    }
    EXPECT_EQ(results[0].stop_reason == StopReason::length,
              results[0].ids.size() == static_cast<std::size_t>(config.max_new_tokens));
  }

  std::vector<Ids> prompts;
  for (const std::string name : golden["batch"]["names"]) {
    prompts.push_back(by_name.at(name)["prompt_ids"]);
  }
  const std::int64_t length = golden["batch"]["max_new_tokens"];
  const auto results = run(*model, prompts, options(length, false));
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::string name = golden["batch"]["names"][i];
    const Ids alone = by_name.at(name)["ids"];
    EXPECT_EQ(results[i].ids, Ids(alone.begin(), alone.begin() + length)) << name;
  }
}

// tools/make_generation_goldens.py: greedy ids of transformers.
TEST(Generate, GuidanceEqualsTransformers) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/guidance.json");
  ASSERT_TRUE(file) << "tests/golden/guidance.json";
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["sequences"].size(), 6U);
  const auto model = TestModel::open(kTiny);
  for (const auto& record : golden["sequences"]) {
    SCOPED_TRACE(record["name"].get<std::string>());
    GenerationConfig config;
    read_generation_fields(record["options"], "golden", config);
    EXPECT_EQ(run(*model, {record["prompt_ids"].get<Ids>()}, config)[0].ids,
              record["ids"].get<Ids>());
  }
}

// Each row of transformers' negative_prompt_ids: those of the goldens that share a scale, together.
TEST(Generate, EachPromptHasItsNegativePrompt) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/guidance.json");
  const auto golden = nlohmann::json::parse(file);
  const auto model = TestModel::open(kTiny);
  std::vector<Ids> prompts, negative, expected;
  GenerationConfig config = options(24, false);
  config.guidance_scale = 3;
  config.negative_prompt_ids = {5, 6, 7};  // of none of them
  for (const auto& record : golden["sequences"]) {
    if (record["options"]["guidance_scale"] != config.guidance_scale) continue;
    prompts.push_back(record["prompt_ids"]);
    negative.push_back(record["options"]["negative_prompt_ids"]);
    expected.push_back(record["ids"]);
  }
  ASSERT_GE(prompts.size(), 2U);
  const auto add_as_alone = [&](const Ids& others) {
    const Ids prompt = prompts[0];
    prompts.push_back(prompt);
    negative.push_back(others);
    GenerationConfig alone = config;
    alone.negative_prompt_ids = others;
    expected.push_back(run(*model, {prompt}, alone)[0].ids);
  };
  add_as_alone({900, 12});
  add_as_alone({});  // its last token
  EXPECT_NE(expected[0], expected[2]);
  EXPECT_NE(expected[0], expected[3]);
  EXPECT_EQ(ids_of(run(*model, prompts, config, {.negative_prompts = negative})), expected);
  // Drawn ones too, several for a prompt.
  config.do_sample = true;
  config.num_return_sequences = 2;
  const auto together = ids_of(run(*model, prompts, config, {.negative_prompts = negative}));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    GenerationConfig alone = config;
    alone.negative_prompt_ids = negative[i];
    EXPECT_THAT(ids_of(run(*model, {prompts[i]}, alone)),
                ElementsAre(together[2 * i], together[2 * i + 1]));
  }

  const auto refuse = [&](const std::vector<Ids>& others, const std::string& message) {
    EXPECT_THAT([&] { run(*model, prompts, config, {.negative_prompts = others}); },
                ThrowsMessage<InvalidArgument>(HasSubstr(message)));
  };
  refuse({{1}}, "negative_prompts: expected one for each of 4 prompts, got 1");
  negative[2] = {4096};
  refuse(negative, "[negative_prompt_ids] expected 0..4095, got 4096");
}

// tools/make_generation_goldens.py: beams of transformers, the prompts of a case as one batch.
TEST(Generate, BeamsEqualTransformers) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/beams.json");
  ASSERT_TRUE(file) << "tests/golden/beams.json";
  const auto golden = nlohmann::json::parse(file);
  std::map<std::string, std::vector<nlohmann::json>> cases;
  for (const auto& search : golden["searches"]) cases[search["name"]].push_back(search);
  ASSERT_EQ(cases.size(), 17U);
  const auto model = TestModel::open(kTiny);
  for (const auto& [name, searches] : cases) {
    SCOPED_TRACE(name);
    GenerationConfig config;
    read_generation_fields(searches[0]["options"], name, config);
    std::vector<Ids> prompts;
    for (const auto& search : searches) prompts.push_back(search["prompt_ids"]);
    const auto results = run(*model, prompts, config);
    const auto count = static_cast<std::size_t>(config.num_return_sequences);
    ASSERT_EQ(results.size(), prompts.size() * count);
    for (std::size_t i = 0; i < results.size(); ++i) {
      const auto& search = searches[i / count];
      EXPECT_EQ(results[i].ids, search["ids"][i % count].get<Ids>()) << "sequence " << i;
      const float score = search["scores"][i % count];
      // Sums of at most 64 log-probabilities, each to 2e-5 of logits of at most 13.
      EXPECT_LE(std::abs(results[i].score - score), 64 * 2 * 2e-5 * 13) << "sequence " << i;
    }
  }
}

// Ends with the first token past it: one, where it is over at once.
TEST(Generate, MaxTimeEndsSequences) {
  const auto model = small_model();
  GenerationConfig config = options(50);
  config.max_time = 1e-9;
  const auto results = run(*model, {{1, 2, 3}, {4}}, config);
  for (const GeneratedSequence& result : results) {
    EXPECT_EQ(result.ids.size(), 1U);
    EXPECT_EQ(result.stop_reason, StopReason::length);
  }
  config.num_beams = 3;
  EXPECT_EQ(run(*model, {{1, 2, 3}}, config)[0].ids.size(), 1U);
  config.max_time = 1e300;
  EXPECT_EQ(run(*model, {{1, 2, 3}}, config)[0].ids.size(), 50U);
}

TEST(Generate, BeamsDoNotDependOnBatchChunkAndThreads) {
  const auto prompts = random_prompts(7, 61, 4);
  GenerationConfig config = options(30, false);
  config.eos_token_ids = {1, 2};
  config.num_beams = 4;
  config.num_return_sequences = 3;
  for (const bool draws : {false, true}) {
    config.do_sample = draws;
    std::vector<Ids> alone;
    for (const Ids& prompt : prompts) {
      for (const Ids& ids : ids_of(run(*small_model(), {prompt}, config))) alone.push_back(ids);
    }
    EXPECT_EQ(ids_of(run(*small_model(2, 7), prompts, config)), alone) << draws;
  }
}

TEST(Generate, BeamsEndAtStopStrings) {
  const auto model = TestModel::open(kTiny);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  GenerationConfig config = options(24, false);
  config.num_beams = 3;
  config.num_return_sequences = 3;
  config.stop_strings = {",", " the LORD"};
  const auto results = run(*model, {tokenizer.encode("And the LORD said unto").ids}, config,
                           {.tokenizer = &tokenizer});
  ASSERT_EQ(results.size(), 3U);
  std::size_t stopped = 0;
  for (const GeneratedSequence& result : results) {
    EXPECT_THAT(result.text, Not(HasSubstr(","))) << result.text;
    stopped += result.stop_reason == StopReason::stop_string ? 1 : 0;
  }
  EXPECT_GT(stopped, 0U);
  EXPECT_GE(results[0].score, results[1].score);
  EXPECT_GE(results[1].score, results[2].score);
}

// Guesses change how many steps there are and nothing else.
TEST(Generate, SpeculationChangesNoToken) {
  const auto model = TestModel::open(kTiny);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  const ForwardModel assistant = model->forward_model();
  const auto other_model = small_model();
  std::vector<Ids> prompts;
  for (const char* text : {"To be, or not to be", "And the LORD said", "KING HENRY:\nMy lord,"}) {
    prompts.push_back(tokenizer.encode(text).ids);
  }
  const auto constraint = Constraint::from_regex("[A-Z a-z,]{1,200}", tokenizer);
  for (const bool draws : {false, true}) {
    for (const bool constrained : {false, true}) {
      GenerationConfig config = options(48, false);
      config.do_sample = draws;
      config.temperature = 0.7;
      config.seed = 5;
      config.repetition_penalty = draws ? 1.1 : 1.0;
      if (constrained) config.constraint = constraint;
      if (constrained) config.stop_strings = {"king"};
      const auto plain = run(*model, prompts, config, {.tokenizer = &tokenizer});
      const auto drafted =
          run(*model, prompts, config, {.tokenizer = &tokenizer, .assistant = &assistant});
      config.prompt_lookup_num_tokens = 6;
      const auto looked_up = run(*model, prompts, config, {.tokenizer = &tokenizer});
      for (std::size_t i = 0; i < prompts.size(); ++i) {
        for (const auto* other : {&drafted, &looked_up}) {
          EXPECT_EQ((*other)[i].ids, plain[i].ids);
          EXPECT_EQ((*other)[i].text, plain[i].text);
          EXPECT_EQ((*other)[i].stop_reason, plain[i].stop_reason);
        }
      }
    }
  }
  const ForwardModel small = other_model->forward_model();
  EXPECT_THAT(
      [&] { run(*model, prompts, options(4), {.assistant = &small}); },
      ThrowsMessage<InvalidArgument>(HasSubstr("assistant_model: expected the model's "
                                               "vocabulary of 4096 tokens, got one of 61")));
}

TEST(Generate, DoesNotDependOnBatchChunkAndThreads) {
  const auto prompts = random_prompts(9, 61, 21);
  GenerationConfig config = options(40);
  config.do_sample = true;
  config.num_return_sequences = 2;
  config.seed = 3;
  std::vector<Ids> alone;
  for (const Ids& prompt : prompts) {
    for (const Ids& ids : ids_of(run(*small_model(), {prompt}, config))) alone.push_back(ids);
  }
  for (const int threads : {1, 2}) {
    for (const std::int64_t prefill_chunk : {1, 7, 512}) {
      EXPECT_EQ(ids_of(run(*small_model(threads, prefill_chunk), prompts, config)), alone)
          << threads << " threads, chunks of " << prefill_chunk;
    }
  }
  EXPECT_NE(alone[0], alone[1]);  // the two sequences of a prompt have draws of their own
}

TEST(Generate, TakesMoreSequencesThanGoThroughAtOnce) {
  const auto model = small_model();
  const auto prompts = random_prompts(kMaxActiveSequences + 9, 61, 5);
  GenerationConfig config = options(12, false);
  config.eos_token_ids = {1, 2, 3, 4, 5, 6, 7, 8};  // so that some end early
  const auto together = run(*model, prompts, config);
  ASSERT_EQ(together.size(), prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(together[i].prompt_index, static_cast<std::int64_t>(i));
    EXPECT_EQ(together[i].ids, run(*model, {prompts[i]}, config)[0].ids) << i;
  }
}

TEST(Generate, StopsAtEosUnlessToldToIgnoreIt) {
  const auto model = small_model();
  const Ids free = run(*model, {{5, 9}}, options(10))[0].ids;
  ASSERT_EQ(free.size(), 10U);
  GenerationConfig config = options(10, false);
  config.eos_token_ids = {free[3]};
  const auto first = std::ranges::find(free, free[3]);
  const auto stopped = run(*model, {{5, 9}}, config)[0];
  EXPECT_EQ(stopped.ids, Ids(free.begin(), first + 1));
  EXPECT_EQ(stopped.stop_reason, StopReason::eos);

  config.ignore_eos = true;
  const auto ignored = run(*model, {{5, 9}}, config)[0];
  EXPECT_EQ(ignored.ids, free);
  EXPECT_EQ(ignored.stop_reason, StopReason::length);
}

TEST(Generate, TakesEosOfTheModelWhereNoneIsGiven) {
  ModelConfig config = TestModel::small_config();
  const Parameters parameters = initial_parameters(config, 7);
  const Ids free = run(TestModel(config, parameters), {{5, 9}}, options(10))[0].ids;
  config.eos_token_ids = {free[0]};
  const auto stopped = run(TestModel(config, parameters), {{5, 9}}, options(10, false))[0];
  EXPECT_THAT(stopped.ids, ElementsAre(free[0]));
}

TEST(Generate, MaxLengthCountsThePrompt) {
  const auto model = small_model();
  GenerationConfig config = options(100);
  config.max_length = 6;
  EXPECT_EQ(run(*model, {{5, 9}}, config)[0].ids.size(), 4U);
  EXPECT_THAT(
      [&] {
        run(*model, {{5}, {1, 2, 3, 4, 5, 6}}, config);
      },
      ThrowsMessage<InvalidArgument>(
          AllOf(HasSubstr("prompt 1"), HasSubstr("max_length 6, got 6"))));
}

TEST(Generate, GivesEveryTokenToTheCallback) {
  const auto model = TestModel::open(kTiny);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  GenerationConfig config = options(30);
  config.do_sample = true;
  config.temperature = 3;  // wild enough for incomplete characters
  config.top_k = 0;
  config.num_return_sequences = 3;
  std::vector<Ids> ids(6);
  std::vector<std::string> texts(6);
  const auto results =
      run(*model, {{1, 40}, {1, 300, 20}}, config,
          {.tokenizer = &tokenizer,
           .on_token = [&](std::int64_t sequence, std::int64_t id, const std::string& text) {
             ids.at(static_cast<std::size_t>(sequence)).push_back(id);
             texts.at(static_cast<std::size_t>(sequence)) += text;
           }});
  ASSERT_EQ(results.size(), 6U);
  for (std::size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].prompt_index, static_cast<std::int64_t>(i / 3));
    EXPECT_EQ(results[i].ids, ids[i]);
    EXPECT_EQ(results[i].text, texts[i]);
    EXPECT_EQ(results[i].text, tokenizer.decode(results[i].ids, true));
  }
}

TEST(Generate, GoesOnPastTheContextWithAWarning) {
  const auto model = small_model();
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& text) { warnings.push_back(text); };
  const Ids prompt(62, 3);
  EXPECT_EQ(run(*model, {prompt}, options(2), {.warn = warn})[0].ids.size(), 2U);
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_EQ(run(*model, {prompt}, options(20), {.warn = warn})[0].ids.size(), 20U);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("max_position_embeddings 64")));
}

TEST(Generate, RefusesWhatItCannotContinue) {
  const auto model = small_model();
  const auto expect = [&](const std::vector<Ids>& prompts, const GenerationConfig& config,
                          const std::string& message) {
    EXPECT_THAT([&] { run(*model, prompts, config); },
                ThrowsMessage<InvalidArgument>(HasSubstr(message)));
  };
  expect({{1}, {}}, {}, "prompt 1: expected at least one token");
  expect({{1, 61}}, {}, "expected 0..60, got 61");
  expect({{-1}}, {}, "expected 0..60, got -1");
  GenerationConfig config;
  config.max_new_tokens = 0;
  expect({{1}}, config, "max_new_tokens");
  config = {};
  config.temperature = std::numeric_limits<double>::quiet_NaN();
  expect({{1}}, config, "temperature");
  config = {};
  config.num_return_sequences = 2;
  expect({{1}}, config, "num_return_sequences");
  config = {};
  config.stop_strings = {"x"};
  expect({{1}}, config, "expected a tokenizer");
}

TEST(Generate, RefusesIdsOutsideTheVocabulary) {
  const auto model = small_model();  // 61 tokens
  for (const char* options :
       {R"({"sequence_bias": [[[5, 61], 1.0]]})", R"({"logit_bias": {"61": 5}})",
        R"({"bad_words_ids": [[61]]})", R"({"forced_bos_token_id": 61})",
        R"({"forced_eos_token_id": [2, 61]})", R"({"suppress_tokens": [61]})",
        R"({"begin_suppress_tokens": [61]})"}) {
    SCOPED_TRACE(options);
    GenerationConfig config;
    read_generation_fields(nlohmann::json::parse(options), "options", config);
    EXPECT_THAT([&] { run(*model, {{1}}, config); },
                ThrowsMessage<InvalidArgument>(
                    HasSubstr(": expected ids 0..60 of the model's vocabulary, got 61")));
  }
  // Of a tokenizer with more tokens than the model.
  GenerationConfig config = options(3, false);
  config.eos_token_ids = {99, -1};
  EXPECT_EQ(run(*model, {{1}}, config)[0].ids.size(), 3U);
}

// A constrained text is whole without the text of the token that ends it; with fewer texts than
// beams are asked for, the others have none.
TEST(Generate, EndsAConstrainedTextWithAnOrdinaryToken) {
  const auto model = TestModel::open(kTiny);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  GenerationConfig config = options(12, false);
  config.constraint = Constraint::from_regex("[0-9]{2}", tokenizer);
  config.eos_token_ids = {900};  // " speak"
  const Ids prompt = {1, 1305, 3899, 28};
  for (const std::int64_t beams : {1, 4}) {
    config.num_beams = beams;
    const auto result = run(*model, {prompt}, config, {.tokenizer = &tokenizer})[0];
    EXPECT_EQ(result.ids.back(), 900);
    EXPECT_EQ(result.stop_reason, StopReason::eos);
    EXPECT_TRUE(config.constraint->accepts(result.text)) << result.text;
  }
  config.num_return_sequences = 4;
  config.constraint = Constraint::from_regex("a|b", tokenizer);
  const auto results = run(*model, {prompt}, config, {.tokenizer = &tokenizer});
  EXPECT_TRUE(std::isfinite(results[0].score));
  EXPECT_TRUE(results[3].ids.empty());
  EXPECT_EQ(results[3].score, -std::numeric_limits<float>::infinity());
}

TEST(Generate, RefusesOtherHeads) {
  for (const Architecture architecture :
       {Architecture::base_model, Architecture::sequence_classification,
        Architecture::question_answering, Architecture::token_classification}) {
    ModelConfig config = TestModel::small_config();
    config.architecture = architecture;
    const TestModel model(config, initial_parameters(config, 1));
    EXPECT_THAT([&] { run(model, {{1}}, {}); },
                ThrowsMessage<InvalidArgument>(HasSubstr("expected a causal LM, got DiffLlama")));
  }
}

TEST(Generate, RefusesNaN) {
  const ModelConfig config = TestModel::small_config();
  Parameters parameters = initial_parameters(config, 1);
  Parameter& head = parameters.at("lm_head.weight");
  head.read_row = [row_of = head.read_row](std::int64_t row, std::span<float> out) {
    row_of(row, out);
    if (row == 17) out[0] = std::numeric_limits<float>::quiet_NaN();
  };
  const TestModel model(config, parameters);
  EXPECT_THAT(
      [&] {
        run(model, {{1, 2}}, {});
      },
      ThrowsMessage<Error>(HasSubstr("got NaN for token id 17 after 2 tokens")));
}

TEST(Generate, OfNothingIsNothing) { EXPECT_TRUE(run(*small_model(), {}, {}).empty()); }

}  // namespace
}  // namespace diffllama
