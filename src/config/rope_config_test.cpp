#include "config/rope_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "config/model_config.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Parsed {
  RopeParameters rope;
  std::vector<std::string> warnings;
};

Parsed parse(const std::string& fields) {
  json document = json::parse(R"({"model_type": "diffllama",
    "architectures": ["DiffLlamaForCausalLM"], "hidden_size": 32, "num_attention_heads": 4})");
  document.update(json::parse(fields));
  Parsed parsed;
  parsed.rope = parse_model_config(document.dump(), "config.json", [&](const std::string& message) {
                  parsed.warnings.push_back(message);
                }).rope;
  return parsed;
}

std::string refusal(const std::string& fields) {
  try {
    parse(fields);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(RopeConfig, BothStylesLoad) {
  const auto now = parse(R"({"rope_parameters": {"rope_type": "linear", "rope_theta": 500,
                             "factor": 2}})");
  EXPECT_EQ(now.rope.type, RopeType::linear);
  EXPECT_EQ(now.rope.theta, 500.0);
  EXPECT_EQ(now.rope.factor, 2.0);
  const auto before = parse(R"({"rope_theta": 500, "rope_scaling": {"type": "linear",
                                "factor": 2}})");
  EXPECT_EQ(before.rope.type, RopeType::linear);
  EXPECT_EQ(before.rope.theta, 500.0);
  EXPECT_EQ(before.rope.factor, 2.0);
  EXPECT_THAT(before.warnings, IsEmpty());
}

TEST(RopeConfig, TypeFallsBackToTypeThenDefault) {
  EXPECT_EQ(parse("{}").rope.type, RopeType::default_rope);
  EXPECT_EQ(parse(R"({"rope_scaling": null})").rope.type, RopeType::default_rope);
  EXPECT_EQ(parse(R"({"rope_parameters": {"rope_theta": 7}})").rope.type, RopeType::default_rope);
  EXPECT_EQ(parse(R"({"rope_scaling": {"type": "linear", "rope_type": "dynamic", "factor": 2}})")
                .rope.type,
            RopeType::dynamic);
}

TEST(RopeConfig, ThetaFallsBackToTheOuterOneThenTenThousand) {
  EXPECT_EQ(parse("{}").rope.theta, 10000.0);
  EXPECT_EQ(parse(R"({"rope_theta": 9})").rope.theta, 9.0);
  EXPECT_EQ(parse(R"({"rope_theta": 9, "rope_parameters": {"rope_type": "default"}})").rope.theta,
            9.0);
  EXPECT_EQ(parse(R"({"rope_theta": 9, "rope_parameters": {"rope_theta": 8}})").rope.theta, 8.0);
}

TEST(RopeConfig, ANonEmptyRopeScalingWins) {
  const std::string parameters =
      R"("rope_parameters": {"rope_type": "dynamic", "factor": 3, "rope_theta": 8})";
  const auto wins =
      parse(R"({"rope_scaling": {"type": "linear", "factor": 2}, )" + parameters + "}").rope;
  EXPECT_EQ(wins.type, RopeType::linear);
  EXPECT_EQ(wins.theta, 10000.0);  // that of the object that lost is lost with it
  const auto empty = parse(R"({"rope_scaling": {}, )" + parameters + "}").rope;
  EXPECT_EQ(empty.type, RopeType::dynamic);
  EXPECT_EQ(empty.theta, 8.0);
}

TEST(RopeConfig, TheOuterOriginalLengthWins) {
  const std::string llama3 = R"("rope_scaling": {"type": "llama3", "factor": 8,
    "low_freq_factor": 1, "high_freq_factor": 4)";
  EXPECT_EQ(parse("{" + llama3 + "}}").rope.original_max_position_embeddings, std::nullopt);
  EXPECT_EQ(parse("{" + llama3 + R"(, "original_max_position_embeddings": 512.0}})")
                .rope.original_max_position_embeddings,
            512);
  EXPECT_EQ(parse(R"({"original_max_position_embeddings": 100, )" + llama3 +
                  R"(, "original_max_position_embeddings": 512}})")
                .rope.original_max_position_embeddings,
            100);
}

TEST(RopeConfig, OptionalFactors) {
  EXPECT_EQ(parse(R"({"rope_scaling": {"type": "yarn", "factor": null}})").rope.factor,
            std::nullopt);
  EXPECT_EQ(parse(R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1],
                      "long_factor": [2, 2, 2, 2]}})")
                .rope.factor,
            std::nullopt);
}

TEST(RopeConfig, TruncateNullIsFalse) {
  const auto truncate = [](const std::string& field) {
    return parse(R"({"rope_scaling": {"type": "yarn", "factor": 2)" + field + "}}").rope.truncate;
  };
  EXPECT_EQ(truncate(""), std::nullopt);
  EXPECT_EQ(truncate(R"(, "truncate": null)"), false);
  EXPECT_EQ(truncate(R"(, "truncate": true)"), true);
}

TEST(RopeConfig, PartialRotaryFactor) {
  EXPECT_EQ(parse(R"({"partial_rotary_factor": 0.5})").rope.type, RopeType::default_rope);
  EXPECT_THAT(parse(R"({"partial_rotary_factor": 1.0, "rope_scaling": {"type": "linear",
                        "factor": 2}})")
                  .warnings,
              IsEmpty());
  EXPECT_THAT(refusal(R"({"partial_rotary_factor": 0.5, "rope_scaling": {"type": "linear",
                          "factor": 2}})"),
              HasSubstr("config.json: partial_rotary_factor: expected 1 with rope_type \"linear\", "
                        "got 0.5"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"type": "yarn", "factor": 2,
                          "partial_rotary_factor": 0.25}})"),
              HasSubstr("rope_scaling: partial_rotary_factor: expected 1"));
}

TEST(RopeConfig, Warnings) {
  EXPECT_THAT(parse(R"({"rope_scaling": {"type": "linear", "factor": 0.5, "zap": 1}})").warnings,
              ElementsAre("config.json: rope_scaling: \"zap\" is not a field of rope_type "
                          "\"linear\" and is ignored",
                          "config.json: rope_parameters: factor: 0.5 is below 1"));
  EXPECT_THAT(parse(R"({"rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4,
                        "high_freq_factor": 4}})")
                  .warnings,
              ElementsAre(HasSubstr("high_freq_factor: 4.0 is not above low_freq_factor 4.0")));
}

TEST(RopeConfig, RefusesWithFieldValueAndWhatIsAllowed) {
  const std::string longrope = R"("type": "longrope", "long_factor": [1, 1, 1, 1])";
  const std::pair<std::string, const char*> cases[] = {
      {R"("type": "su")",
       "rope_scaling: type: expected default, linear, dynamic, yarn, longrope or "
       "llama3, got \"su\""},
      {R"("rope_type": 3)", "rope_scaling: rope_type: expected a string, got 3"},
      {R"("type": "linear")",
       "rope_scaling: factor: expected a number (rope_type \"linear\" needs "
       "it), got no such field"},
      {R"("type": "dynamic")", "rope_scaling: factor: expected a number (rope_type \"dynamic\""},
      {R"("type": "linear", "factor": null)",
       "factor: expected a number (rope_type \"linear\" "
       "needs it), got null"},
      {R"("type": "linear", "factor": "2")",
       "rope_scaling: factor: expected a number, or null, "
       "got \"2\""},
      {R"("type": "linear", "factor": 0)",
       "rope_parameters: factor: expected a number above 0, "
       "got 0.0"},
      {R"("type": "linear", "factor": -1)", "factor: expected a number above 0, got -1.0"},
      {R"("type": "yarn")", "factor: expected a number, or null (rope_type \"yarn\" needs it)"},
      {R"("type": "yarn", "factor": 2, "beta_fast": -1)",
       "beta_fast: expected a number >= 0, got -1.0"},
      {R"("type": "yarn", "factor": 2, "truncate": "no")", "truncate: expected true or false"},
      {R"("type": "yarn", "factor": 2, "rope_theta": 1)",
       "rope_theta: expected a number above 0 that is not 1 with \"yarn\", got 1.0"},
      {R"("type": "yarn", "factor": 2, "original_max_position_embeddings": 0)",
       "original_max_position_embeddings: expected an integer from 1 to 2147483647, got 0"},
      {R"("type": "yarn", "factor": 2, "original_max_position_embeddings": 0.5)",
       "original_max_position_embeddings: expected an integer, got 0.5"},
      {R"("type": "llama3", "factor": 2, "high_freq_factor": 4)",
       "low_freq_factor: expected a number (rope_type \"llama3\" needs it), got no such field"},
      {R"("type": "llama3", "factor": 2, "low_freq_factor": 1)",
       "high_freq_factor: expected a number (rope_type \"llama3\" needs it), got no such field"},
      {R"("type": "llama3", "factor": 2, "low_freq_factor": 0, "high_freq_factor": 4)",
       "low_freq_factor: expected a number above 0, got 0.0"},
      {R"("type": "longrope", "short_factor": [1, 1, 1, 1])",
       "long_factor: expected a list of numbers (rope_type \"longrope\" needs it), got no such"},
      {longrope, "short_factor: expected a list of numbers (rope_type \"longrope\" needs it)"},
      {longrope + R"(, "short_factor": [1, 1, 1])",
       "short_factor: expected 4 values (head_dim / 2), got 3"},
      {longrope + R"(, "short_factor": [1, 1, 1, "1"])",
       "short_factor: expected a list of numbers"},
      {longrope + R"(, "short_factor": [1, 1, 1, 0])",
       "short_factor: expected numbers above 0, got 0.0"},
      {longrope + R"(, "short_factor": [1, 1, 1, 1], "original_max_position_embeddings": 1)",
       "original_max_position_embeddings: expected at least 2 with \"longrope\""},
      {R"("rope_theta": 0)", "rope_theta: expected a number above 0, got 0.0"},
      {R"("rope_theta": "x")", "rope_theta: expected a number, got \"x\""},
  };
  for (const auto& [fields, message] : cases) {
    EXPECT_THAT(refusal(R"({"rope_scaling": {)" + fields + "}}"), HasSubstr(message)) << fields;
  }
  EXPECT_THAT(refusal(R"({"rope_parameters": [1]})"),
              HasSubstr("config.json: rope_parameters: expected an object, or null, got [1]"));
  EXPECT_THAT(refusal(R"({"rope_theta": -3.5})"),
              HasSubstr("rope_theta: expected a number above 0, got -3.5"));
  EXPECT_THAT(refusal(R"({"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2}})"),
              HasSubstr("rope_type: expected a head_dim of at least 4 with \"dynamic\", got "
                        "head_dim 2"));
}

}  // namespace
}  // namespace diffllama
