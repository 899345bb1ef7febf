#include "checkpoint/adapter/lora_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// As PEFT writes one.
json peft_config() {
  return json::parse(read_whole_file(std::filesystem::path(DIFFLLAMA_SOURCE_DIR) /
                                     "tests/golden/adapters/causal_patterns/adapter_config.json"));
}

LoraConfig parse(const json& object, std::vector<std::string>* warnings = nullptr) {
  return parse_lora_config(object.dump(), "a.json", [=](const std::string& text) {
    if (warnings != nullptr) warnings->push_back(text);
  });
}

std::string refused(const json& changes) {
  json object = peft_config();
  object.update(changes);
  return refusal([&] { parse(object); });
}

TEST(LoraConfig, ReadsWhatPeftWrites) {
  std::vector<std::string> warnings;
  json object = peft_config();
  object["lora_dropout"] = 0.25;
  const LoraConfig config = parse(object, &warnings);
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(config.rank, 4);
  EXPECT_EQ(config.alpha, 6);
  EXPECT_EQ(config.dropout, 0.25);
  EXPECT_FALSE(config.rslora);
  EXPECT_THAT(config.target_modules,
              ElementsAre("layers.0.mlp.gate_proj", "lm_head", "q_proj", "v_proj"));
  EXPECT_EQ(config.target_expression, "");
  EXPECT_THAT(config.exclude_modules, ElementsAre("layers.1.self_attn.v_proj"));
  EXPECT_THAT(config.modules_to_save, IsEmpty());
  EXPECT_THAT(config.rank_pattern,
              ElementsAre(std::pair(R"(layers\.0\.self_attn\.q_proj)", 2), std::pair("v_proj", 5)));
  EXPECT_THAT(config.alpha_pattern, ElementsAre(std::pair("model.layers.1.self_attn.q_proj", 3.0)));
  EXPECT_EQ(config.base_model_name_or_path, "tests/golden/forward/diffllama_causal");

  object["target_modules"] = "all-linear";
  object["use_rslora"] = true;
  EXPECT_EQ(parse(object).target_expression, "all-linear");
  EXPECT_THAT(parse(object).target_modules, IsEmpty());
  EXPECT_TRUE(parse(object).rslora);
}

TEST(LoraConfig, DefaultsArePeftsOwn) {
  const LoraConfig config = parse({{"peft_type", "LORA"}, {"target_modules", {"q_proj"}}});
  EXPECT_EQ(config.rank, 8);
  EXPECT_EQ(config.alpha, 8);
  EXPECT_EQ(config.dropout, 0);
}

TEST(LoraConfig, ATaskBringsTheHeadsThatPeftAdds) {
  json object = peft_config();
  object["task_type"] = "SEQ_CLS";
  EXPECT_THAT(parse(object).modules_to_save, ElementsAre("classifier", "score"));
  object["modules_to_save"] = {"score", "norm"};
  EXPECT_THAT(parse(object).modules_to_save, ElementsAre("score", "norm", "classifier"));
  object["task_type"] = "QUESTION_ANS";
  object["modules_to_save"] = nullptr;
  EXPECT_THAT(parse(object).modules_to_save, ElementsAre("qa_outputs"));
  object["task_type"] = nullptr;
  EXPECT_THAT(parse(object).modules_to_save, IsEmpty());
  EXPECT_THAT(with_trained_head({}, Architecture::token_classification).modules_to_save,
              ElementsAre("classifier", "score"));
  EXPECT_THAT(with_trained_head({}, Architecture::causal_lm).modules_to_save, IsEmpty());
}

TEST(LoraConfig, WhatChangesTheResultIsRefusedByName) {
  const std::vector<json> changes = {
      {{"use_dora", true}},
      {{"fan_in_fan_out", true}},
      {{"bias", "all"}},
      {{"bias", "lora_only"}},
      {{"lora_bias", true}},
      {{"layers_to_transform", {0}}},
      {{"layers_to_transform", 0}},
      {{"layers_pattern", "layers"}},
      {{"layer_replication", {{0, 2}}}},
      {{"target_parameters", {"x"}}},
      {{"trainable_token_indices", {1}}},
      {{"use_qalora", true}},
      {{"use_bdlora", {{"a", 1}}}},
      {{"alora_invocation_tokens", {1}}},
      {{"velora_config", {{"a", 1}}}},
      {{"kasa_config", {{"beta", 1}}}},
      {{"monteclora_config", {{"a", 1}}}},
      {{"arrow_config", {{"a", 1}}}},
      {{"ensure_weight_tying", true}},
      {{"megatron_config", {{"a", 1}}}},
      {{"init_lora_weights", "pissa"}},
      {{"init_lora_weights", "pissa_niter_4"}},
      {{"init_lora_weights", "olora"}},
      {{"init_lora_weights", "corda"}},
      {{"init_lora_weights", "loftq"}},
      {{"init_lora_weights", "mica"}},
      {{"init_lora_weights", 3}},
      {{"peft_type", "IA3"}},
      {{"peft_type", nullptr}},
      {{"task_type", "SEQ_2_SEQ_LM"}},
  };
  for (const json& change : changes) {
    const std::string field = change.begin().key();
    EXPECT_THAT(refused(change), HasSubstr("a.json: " + field + ": expected")) << change.dump();
  }
  for (const char* start : {"gaussian", "orthogonal", "eva"}) {
    EXPECT_EQ(refused({{"init_lora_weights", start}}), "accepted");
  }
  EXPECT_EQ(refused({{"layers_to_transform", json::array()}, {"init_lora_weights", false}}),
            "accepted");
}

TEST(LoraConfig, FieldsOfANewerPeftAreAWarningUnlessTheySayNothing) {
  std::vector<std::string> warnings;
  json object = peft_config();
  object.update({{"new_a", nullptr}, {"new_b", false}, {"new_c", json::object()}});
  parse(object, &warnings);
  EXPECT_THAT(warnings, IsEmpty());
  object["new_d"] = 1;
  parse(object, &warnings);
  EXPECT_THAT(warnings, ElementsAre("a.json: fields that are not known are ignored: \"new_d\""));
}

TEST(LoraConfig, BadValuesAreNamed) {
  const struct {
    json change;
    const char* message;
  } wrong[] = {
      {{{"r", 0}}, "a.json: r: expected 1 to 1048576, got 0"},
      {{{"r", -3}}, "a.json: r: expected 1 to 1048576, got -3"},
      {{{"r", 4'611'686'018'427'387'904}}, "r: expected 1 to 1048576, got 4611686018427387904"},
      {{{"r", 1e300}}, "r: expected an integer"},
      {{{"r", "8"}}, "r: expected an integer"},
      {{{"r", nullptr}}, "r: expected an integer"},
      {{{"lora_alpha", 1e300}}, "lora_alpha: expected a finite number of at most 1e30"},
      {{{"lora_alpha", "8"}}, "lora_alpha: expected a number"},
      {{{"lora_dropout", 1.5}}, "lora_dropout: expected 0 to 1, got 1.5"},
      {{{"lora_dropout", -0.1}}, "lora_dropout: expected 0 to 1"},
      {{{"use_rslora", 1}}, "use_rslora: expected true or false"},
      {{{"target_modules", nullptr}}, "target_modules: expected a list of modules or a string"},
      {{{"target_modules", 3}}, "target_modules: expected a list of modules"},
      {{{"target_modules", {"q", 3}}}, "target_modules: expected names of modules, got 3"},
      {{{"target_modules", ""}}, "target_modules: expected a list"},
      {{{"target_modules", std::vector<std::string>(10'001, "q")}},
       "target_modules: expected at most 10000 entries, got 10001"},
      {{{"modules_to_save", "score"}}, "modules_to_save: expected a list"},
      {{{"modules_to_save", {""}}}, "modules_to_save: expected names of modules, got \"\""},
      {{{"rank_pattern", {{"q", 0}}}}, "rank_pattern: \"q\": expected 1 to 1048576, got 0"},
      {{{"rank_pattern", {{"q", "x"}}}}, "rank_pattern: q: expected an integer"},
      {{{"rank_pattern", {1}}}, "rank_pattern: expected an object"},
      {{{"alpha_pattern", {{"q", -1e31}}}}, "alpha_pattern: \"q\": expected a finite number"},
      {{{"task_type", 3}}, "task_type: expected a string"},
      {{{"base_model_name_or_path", 3}}, "base_model_name_or_path: expected a string"},
  };
  for (const auto& [change, message] : wrong) {
    EXPECT_THAT(refused(change), HasSubstr(message)) << change.dump().substr(0, 100);
  }
  const auto text = [](const char* config) {
    return refusal([&] { parse_lora_config(config, "a.json"); });
  };
  EXPECT_THAT(text("[]"), HasSubstr("a.json: expected a JSON object, got []"));
  EXPECT_THAT(text(R"({"peft_type": "LORA", "target_modules": ["q"], "lora_alpha": NaN})"),
              HasSubstr("a.json: expected JSON"));
  EXPECT_THAT(text(R"({"peft_type": "LORA", "r": 1, "r": 2})"), HasSubstr("\"r\" twice"));
  LoraConfig config;
  config.alpha = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(refusal([&] { validate(config); }),
              HasSubstr("LoRA configuration: lora_alpha: expected a finite number"));
  config = {};
  config.dropout = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(refusal([&] { validate(config); }), HasSubstr("lora_dropout: expected 0 to 1"));
}

TEST(LoraConfig, WhatIsWrittenReadsBackTheSame) {
  LoraConfig config = parse(peft_config());
  config.dropout = 0.05;
  config.alpha = 1.5;
  config.rslora = true;
  config.modules_to_save = {"norm"};
  const auto same = [](const LoraConfig& a, const LoraConfig& b) {
    EXPECT_EQ(a.rank, b.rank);
    EXPECT_EQ(a.alpha, b.alpha);
    EXPECT_EQ(a.dropout, b.dropout);
    EXPECT_EQ(a.rslora, b.rslora);
    EXPECT_EQ(a.target_modules, b.target_modules);
    EXPECT_EQ(a.target_expression, b.target_expression);
    EXPECT_EQ(a.exclude_modules, b.exclude_modules);
    EXPECT_EQ(a.exclude_expression, b.exclude_expression);
    EXPECT_EQ(a.modules_to_save, b.modules_to_save);
    EXPECT_EQ(a.rank_pattern, b.rank_pattern);
    EXPECT_EQ(a.alpha_pattern, b.alpha_pattern);
    EXPECT_EQ(a.base_model_name_or_path, b.base_model_name_or_path);
  };
  const std::string text = write_lora_config(config, Architecture::causal_lm);
  same(parse_lora_config(text, "b.json"), config);
  EXPECT_EQ(json::parse(text).at("task_type"), "CAUSAL_LM");
  LoraConfig plain;
  plain.target_modules.clear();
  plain.target_expression = ".*proj";
  plain.exclude_expression = ".*k_proj";
  plain.modules_to_save = {"qa_outputs"};
  const std::string other = write_lora_config(plain, Architecture::question_answering);
  same(parse_lora_config(other, "b.json"), plain);
  // PEFT's types: lora_alpha is an integer, the patterns are objects, what is absent is null.
  EXPECT_TRUE(json::parse(other).at("lora_alpha").is_number_integer());
  EXPECT_TRUE(json::parse(other).at("rank_pattern").is_object());
  EXPECT_TRUE(json::parse(other).at("base_model_name_or_path").is_null());
}

}  // namespace
}  // namespace diffllama
