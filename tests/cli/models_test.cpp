// What broken models get: one line that names the file and what is wrong with it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/expectations.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

using nlohmann::json;

TEST(Models, MissingOnesAreNamed) {
  const Scratch scratch;
  const std::string outputs = scratch.path() / "outputs.safetensors";
  const std::string text = scratch.file("text", "not a model");
  const std::string empty = scratch.path() / "empty";
  fs::create_directory(empty);
  for (const std::string& model : {std::string("/no/such/model"), text, empty}) {
    SCOPED_TRACE(model);
    expect_failure(run_program(forward(model, outputs)), 1, HasSubstr(model));
    expect_failure(run_program({"tokenize", "-m", model}), 1, HasSubstr(model));
  }
  EXPECT_FALSE(fs::exists(outputs));
  // Not one of its files, which is looked for first.
  expect_failure(run_program({"generate", "-m", "/no/such/model", "-p", "a"}), 1,
                 HasSubstr("/no/such/model: expected a model"));
}

/// A copy of the causal golden with another config.json.
class ModelWithConfig {
 public:
  explicit ModelWithConfig(const std::string& config) {
    scratch_.file("config.json", config);
    fs::create_symlink(fs::path(kCausal) / "model.safetensors",
                       scratch_.path() / "model.safetensors");
  }
  std::string path() const { return scratch_.path(); }
  Result run() const {
    return run_program(forward(path(), scratch_.path() / "outputs.safetensors"));
  }

 private:
  Scratch scratch_;
};

json causal_config() { return json::parse(read_file(fs::path(kCausal) / "config.json")); }

TEST(Models, EachWrongFieldOfTheConfigIsNamed) {
  const struct {
    const char* field;  // a JSON pointer
    json value;
  } wrong[] = {
      {"/model_type", "gpt2"},
      {"/model_type", 7},
      {"/architectures", json::array({"GPT2LMHeadModel"})},
      {"/architectures", "DiffLlamaForCausalLM"},
      {"/vocab_size", 0},
      {"/vocab_size", -56},
      {"/vocab_size", 5.5},
      {"/vocab_size", 1e30},
      {"/hidden_size", "32"},
      {"/hidden_size", json::array({32})},
      {"/intermediate_size", -1},
      {"/num_hidden_layers", 0},
      {"/num_hidden_layers", std::uint64_t{1} << 63},
      {"/num_attention_heads", 0},
      {"/num_key_value_heads", 3},
      {"/num_attention_heads", 5},
      {"/head_dim", 7},
      {"/head_dim", std::int64_t{1} << 40},
      {"/max_position_embeddings", 0},
      {"/hidden_act", "swoosh"},
      {"/rms_norm_eps", -1e-5},
      {"/rms_norm_eps", true},
      {"/attention_dropout", 0.1},
      {"/pad_token_id", 56},
      {"/eos_token_id", "two"},
      {"/tie_word_embeddings", "yes"},
      {"/dtype", "float8"},
      {"/rope_parameters/rope_type", "spiral"},
      {"/rope_parameters/rope_theta", "large"},
      {"/quantization_config", json::object({{"bits", 4}})},
  };
  for (const auto& [field, value] : wrong) {
    SCOPED_TRACE(std::string(field) + " = " + value.dump());
    json config = causal_config();
    config[json::json_pointer(field)] = value;
    const std::string name = json::json_pointer(field).back();
    expect_failure(ModelWithConfig(config.dump()).run(), 1,
                   AllOf(HasSubstr("config.json"), HasSubstr(name)));
  }
}

TEST(Models, EachMissingRotaryFieldIsNamed) {
  const struct {
    const char* type;
    const char* field;
  } missing[] = {
      {"linear", "factor"},         {"dynamic", "factor"},         {"yarn", "factor"},
      {"llama3", "factor"},         {"llama3", "low_freq_factor"}, {"llama3", "high_freq_factor"},
      {"longrope", "short_factor"}, {"longrope", "long_factor"}};
  for (const auto& [type, field] : missing) {
    SCOPED_TRACE(std::string(type) + " without " + field);
    json config = causal_config();
    json& rope = config["rope_parameters"];
    rope = {{"rope_type", type}, {"rope_theta", 1e4}};
    const std::string all = type;
    rope["factor"] = 4.0;
    if (all == "llama3") {
      rope["low_freq_factor"] = 1.0;
      rope["high_freq_factor"] = 4.0;
    } else if (all == "longrope") {
      rope["short_factor"] = {1.0, 1.0, 1.0, 1.0};
      rope["long_factor"] = {1.0, 2.0, 3.0, 4.0};
    }
    expect_success(ModelWithConfig(config.dump()).run());  // all there: no error
    rope.erase(field);
    expect_failure(ModelWithConfig(config.dump()).run(), 1,
                   AllOf(HasSubstr("config.json"), HasSubstr(field), HasSubstr(type)));
  }
}

TEST(Models, BrokenJsonIsRefused) {
  const std::string whole = causal_config().dump();
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"),
        whole.substr(0, whole.size() / 2), whole + "x", "\xff\xfe" + whole,
        std::string(R"({"vocab_size": 1, "vocab_size": 2})"),
        std::string(R"({"rms_norm_eps": NaN})"), std::string(R"({"model_type": "\ud800"})"),
        std::string(100'000, '['), std::string(R"({"vocab_size": 1e999})")}) {
    SCOPED_TRACE(text.substr(0, 60));
    expect_failure(ModelWithConfig(text).run(), 1, HasSubstr("config.json"));
  }
}

TEST(Models, MisshapedTensorsAreAllListedByName) {
  json config = causal_config();
  config["intermediate_size"] = 30;
  const Result result = ModelWithConfig(config.dump()).run();
  expect_failure(result, 1, HasSubstr("mis-shaped: "));
  for (const char* layer : {"model.layers.0.mlp.", "model.layers.1.mlp."}) {
    for (const char* name : {"gate_proj.weight (expected [30, 32], got [28, 32])",
                             "up_proj.weight (expected [30, 32], got [28, 32])",
                             "down_proj.weight (expected [32, 30], got [32, 28])"}) {
      EXPECT_THAT(result.err, HasSubstr(std::string(layer) + name));
    }
  }
}

TEST(Models, MissingTensorsAreAllListedByName) {
  json config = causal_config();
  config["num_hidden_layers"] = 3;
  config["attention_bias"] = true;
  const Result result = ModelWithConfig(config.dump()).run();
  expect_failure(result, 1, HasSubstr("missing: "));
  for (const char* name :
       {"layers.2.self_attn.lambda_q1 [8]", "layers.2.self_attn.q_proj.weight [32, 32]",
        "layers.2.input_layernorm.weight [32]", "layers.2.mlp.down_proj.weight [32, 28]",
        "layers.0.self_attn.q_proj.bias [32]", "layers.1.self_attn.v_proj.bias [16]"}) {
    EXPECT_THAT(result.err, HasSubstr(name));
  }
}

TEST(Models, TruncatedWeightsAreRefused) {
  const Scratch scratch;
  const std::string weights = read_file(fs::path(kCausal) / "model.safetensors");
  fs::copy_file(fs::path(kCausal) / "config.json", scratch.path() / "config.json");
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{100}, weights.size() - 1}) {
    SCOPED_TRACE(size);
    scratch.file("model.safetensors", weights.substr(0, size));
    expect_failure(run_program(forward(scratch.path(), scratch.path() / "outputs.safetensors")), 1,
                   HasSubstr("model.safetensors"));
  }
}

}  // namespace
}  // namespace diffllama::cli_test
