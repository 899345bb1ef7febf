#include "model/rotary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "config/model_config.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr float kUlp = 0x1p-23F;  // of a float32 in [1, 2)

struct Golden {
  std::string name;
  ModelConfig config;
  std::int64_t length = 0;
  RotaryFrequencies frequencies;
  json positions, cos, sin;
};

std::vector<Golden> read_goldens() {
  const std::string path = DIFFLLAMA_SOURCE_DIR "/tests/golden/rotary.json";
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  std::vector<Golden> goldens;
  const json file_json = parse_json(text, path);
  for (const json& entry : file_json["cases"]) {
    json document = {{"model_type", "diffllama"},
                     {"architectures", {"DiffLlamaModel"}},
                     {"hidden_size", 64},
                     {"num_attention_heads", 4},
                     {"num_key_value_heads", 2},
                     {"head_dim", entry["head_dim"]},
                     {"max_position_embeddings", entry["max_position_embeddings"]}};
    document.update(entry["fields"]);
    const ModelConfig config =
        parse_model_config(document.dump(), "golden", [](const std::string&) {});
    for (const json& run : entry["runs"]) {
      const auto length = run["length"].get<std::int64_t>();
      goldens.push_back({entry["fields"].dump() + " at length " + std::to_string(length),
                         config,
                         length,
                         {run["inverse"].get<std::vector<float>>(),
                          static_cast<float>(run["attention_scaling"].get<double>())},
                         run["positions"],
                         run["cos"],
                         run["sin"]});
    }
  }
  EXPECT_FALSE(goldens.empty()) << path;
  return goldens;
}

/// |x - golden| <= tolerance for each value; NaN fails.
void expect_near(const std::vector<float>& values, const std::vector<float>& golden,
                 const std::vector<float>& tolerance, const std::string& what) {
  ASSERT_EQ(values.size(), golden.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_TRUE(std::abs(values[i] - golden[i]) <= tolerance[i])
        << what << " [" << i << "]: " << values[i] << " against " << golden[i];
  }
}

TEST(Rotary, FrequenciesAreThoseOfTransformers) {
  std::size_t equal = 0;
  std::size_t all = 0;
  for (const Golden& golden : read_goldens()) {
    const RotaryFrequencies found = RotaryEmbedding(golden.config).frequencies(golden.length);
    EXPECT_EQ(found.attention_scaling, golden.frequencies.attention_scaling) << golden.name;
    // torch's powf may be off by 1 ulp; dynamic raises to three powers, and llama3's and yarn's
    // blends add a few roundings: 6 ulp bound them all. In practice nearly all bits are equal.
    std::vector<float> tolerance;
    for (const float value : golden.frequencies.inverse) tolerance.push_back(6 * kUlp * value);
    expect_near(found.inverse, golden.frequencies.inverse, tolerance, golden.name);
    for (std::size_t i = 0; i < found.inverse.size(); ++i) {
      ++all;
      if (found.inverse[i] == golden.frequencies.inverse[i]) ++equal;
    }
  }
  ASSERT_GT(all, 500U);
  EXPECT_GE(equal, all * 99 / 100) << "of " << all;
}

// From the same frequencies the angles have the same bits, so only the two libraries' cos and sin
// differ (below 1 ulp each), and the product with the scaling is rounded.
TEST(Rotary, CosinesAndSinesAreThoseOfTransformers) {
  for (const Golden& golden : read_goldens()) {
    const std::size_t half = golden.frequencies.inverse.size();
    const std::vector<float> tolerance(
        half, 3 * kUlp * std::max(1.0F, golden.frequencies.attention_scaling));
    std::vector<float> cos(half);
    std::vector<float> sin(half);
    for (std::size_t p = 0; p < golden.positions.size(); ++p) {
      const auto position = golden.positions[p].get<std::int64_t>();
      const std::string what = golden.name + " position " + std::to_string(position);
      golden.frequencies.cos_sin(position, cos.data(), sin.data());
      expect_near(cos, golden.cos[p].get<std::vector<float>>(), tolerance, what + " cos");
      expect_near(sin, golden.sin[p].get<std::vector<float>>(), tolerance, what + " sin");
    }
  }
}

TEST(Rotary, OnlyDynamicAndLongropeDependOnTheLength) {
  for (const Golden& golden : read_goldens()) {
    const RotaryEmbedding rotary(golden.config);
    const auto brief = rotary.frequencies(1);
    const auto endless = rotary.frequencies(std::int64_t{1} << 40);
    const RopeType type = golden.config.rope.type;
    EXPECT_EQ(brief.inverse != endless.inverse,
              type == RopeType::dynamic || type == RopeType::longrope)
        << golden.name;
  }
}

TEST(Rotary, DivisorsOfAGgufFileTakeThePlaceOfTheRule) {
  ModelConfig config;
  config.head_dim = 8;
  const auto plain = RotaryEmbedding(config).frequencies(1);
  config.rope.type = RopeType::linear;
  config.rope.factor = 4.0;
  config.rope.frequency_divisors = {1, 2, 4, 8};
  const auto divided = RotaryEmbedding(config).frequencies(100000);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(divided.inverse[i], plain.inverse[i] / static_cast<float>(1 << i));  // exact: 2^i
  }
  EXPECT_EQ(divided.attention_scaling, 1.0F);
  // What is saved as longrope computes the same bits.
  config.rope.frequency_divisors = {1.1, 2.3, 4.7, 8.9};
  const ModelConfig saved =
      parse_model_config(write_model_config(config), "saved", [](const std::string&) {});
  ASSERT_EQ(saved.rope.type, RopeType::longrope);
  for (const std::int64_t length : {1, 100000}) {
    const auto again = RotaryEmbedding(saved).frequencies(length);
    EXPECT_EQ(again.inverse, RotaryEmbedding(config).frequencies(length).inverse);
    EXPECT_EQ(again.attention_scaling, 1.0F);
  }
}

TEST(Rotary, RefusesSettingsThatAreNotFinite) {
  const auto refusal = [](const ModelConfig& config) -> std::string {
    try {
      const RotaryEmbedding rotary(config);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  ModelConfig config;
  EXPECT_EQ(refusal(config), "accepted");
  config.rope.theta = 1e-300;
  EXPECT_THAT(refusal(config), testing::HasSubstr("rope_type \"default\" that give finite"));
  config = {};
  config.rope.type = RopeType::dynamic;
  config.rope.factor = 1e300;
  EXPECT_THAT(refusal(config), testing::HasSubstr("rope_type \"dynamic\" that give finite"));
}

}  // namespace
}  // namespace diffllama
