#include "config/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "config/names.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json small() {
  return json::parse(R"({"model_type": "diffllama", "architectures": ["DiffLlamaForCausalLM"],
    "vocab_size": 32, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2})");
}

/// The small configuration with `fields` (a JSON object) merged in.
std::string with(const std::string& fields) {
  json document = small();
  document.update(json::parse(fields));
  return document.dump();
}

struct Parsed {
  ModelConfig config;
  std::vector<std::string> warnings;
};

Parsed parse_text(const std::string& text) {
  Parsed parsed;
  parsed.config = parse_model_config(
      text, "config.json", [&](const std::string& message) { parsed.warnings.push_back(message); });
  return parsed;
}

Parsed parse(const std::string& fields) { return parse_text(with(fields)); }

std::string refusal_of_text(const std::string& text) {
  try {
    parse_text(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::string refusal(const std::string& fields) { return refusal_of_text(with(fields)); }

TEST(ModelConfig, DefaultsAreThoseOfTransformers) {
  const ModelConfig diff = parse_text(R"({"model_type": "diffllama"})").config;
  EXPECT_EQ(diff.vocab_size, 32000);
  EXPECT_EQ(diff.hidden_size, 2048);
  EXPECT_EQ(diff.intermediate_size, 8192);
  EXPECT_EQ(diff.num_hidden_layers, 16);
  EXPECT_EQ(diff.num_attention_heads, 32);
  EXPECT_EQ(diff.num_key_value_heads, 32);
  EXPECT_EQ(diff.head_dim, 64);
  EXPECT_EQ(diff.rms_norm_eps, 1e-5);
  EXPECT_EQ(diff.bos_token_id, 1);
  EXPECT_THAT(diff.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(diff.pad_token_id, std::nullopt);
  EXPECT_EQ(diff.rope.theta, 10000.0);
  EXPECT_EQ(diff.lambda_std_dev, 0.1);
  EXPECT_EQ(diff.num_labels(), 2);
  EXPECT_EQ(diff.dtype, std::nullopt);

  const ModelConfig llama = parse_text(R"({"model_type": "llama"})").config;
  EXPECT_EQ(llama.model_type, ModelType::llama);
  EXPECT_EQ(llama.hidden_size, 4096);
  EXPECT_EQ(llama.intermediate_size, 11008);
  EXPECT_EQ(llama.num_hidden_layers, 32);
  EXPECT_EQ(llama.head_dim, 128);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
}

TEST(ModelConfig, ReadsTheShippedModel) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny/config.json");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto [config, warnings] = parse_text(text);
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(config.architecture, Architecture::causal_lm);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.dtype, DType::bfloat16);
  // What transformers wrote is what is written, but for its version line, which is kept.
  EXPECT_EQ(json::parse(write_model_config(config)), json::parse(text));
}

TEST(ModelConfig, ReadsEveryField) {
  const ModelConfig config = parse(R"({"hidden_act": "swish", "num_key_value_heads": null,
    "head_dim": null, "hidden_size": 67, "max_position_embeddings": 99, "initializer_range": 0.5,
    "rms_norm_eps": 1e-3, "use_cache": false, "pad_token_id": 3, "bos_token_id": null,
    "eos_token_id": [4, 5], "tie_word_embeddings": true, "attention_bias": true,
    "attention_dropout": 0, "lambda_std_dev": 0.7, "torch_dtype": "float16",
    "classifier_dropout": 0.25, "hidden_dropout": null, "token_classification_bias": false,
    "problem_type": "regression", "num_labels": 1})")
                                 .config;
  EXPECT_EQ(config.hidden_act, Activation::silu);
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_position_embeddings, 99);
  EXPECT_EQ(config.initializer_range, 0.5);
  EXPECT_EQ(config.rms_norm_eps, 1e-3);
  EXPECT_FALSE(config.use_cache);
  EXPECT_EQ(config.pad_token_id, 3);
  EXPECT_EQ(config.bos_token_id, std::nullopt);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(4, 5));
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_EQ(config.lambda_std_dev, 0.7);
  EXPECT_EQ(config.dtype, DType::float16);
  EXPECT_EQ(config.classifier_dropout, 0.25);
  EXPECT_EQ(config.hidden_dropout, std::nullopt);
  EXPECT_FALSE(config.token_classification_bias);
  EXPECT_EQ(config.problem_type, ProblemType::regression);
  EXPECT_THAT(config.labels, ElementsAre("LABEL_0"));
}

TEST(ModelConfig, DtypeWinsOverTorchDtype) {
  EXPECT_EQ(parse(R"({"dtype": "float32", "torch_dtype": "bfloat16"})").config.dtype,
            DType::float32);
  EXPECT_EQ(parse(R"({"dtype": null, "torch_dtype": "bfloat16"})").config.dtype, DType::bfloat16);
  EXPECT_THAT(refusal(R"({"dtype": "int8"})"),
              HasSubstr("config.json: dtype: expected float32, float, float16, half, bfloat16, "
                        "float64 or double, or null, got \"int8\""));
}

TEST(ModelConfig, ReadsEveryActivation) {
  for (const char* name : {"silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast",
                           "quick_gelu", "relu", "relu2", "tanh", "sigmoid"}) {
    const auto parsed = parse(json{{"hidden_act", name}}.dump());
    EXPECT_EQ(activation_name(parsed.config.hidden_act), name);
  }
}

TEST(ModelConfig, TheFirstArchitecturePicksTheClass) {
  for (const char* prefix : {"DiffLlama", "Llama"}) {
    const std::string type = prefix == std::string("Llama") ? "llama" : "diffllama";
    for (const char* suffix : {"Model", "ForCausalLM", "ForSequenceClassification",
                               "ForQuestionAnswering", "ForTokenClassification"}) {
      const std::string name = std::string(prefix) + suffix;
      json document = small();
      document["model_type"] = type;
      document["architectures"] = {name, "Other"};
      const auto parsed = parse_text(document.dump());
      EXPECT_EQ(architecture_name(parsed.config.model_type, parsed.config.architecture), name);
      document.erase("model_type");  // then the class tells
      EXPECT_EQ(parse_text(document.dump()).config.model_type, parsed.config.model_type);
    }
  }
}

TEST(ModelConfig, NoArchitectureIsACausalLanguageModel) {
  for (const char* fields : {R"({"architectures": null})", R"({"architectures": []})"}) {
    const auto parsed = parse(fields);
    EXPECT_EQ(parsed.config.architecture, Architecture::causal_lm);
    EXPECT_THAT(
        parsed.warnings,
        ElementsAre("config.json: architectures: none given, read as DiffLlamaForCausalLM"));
  }
}

TEST(ModelConfig, AnOtherwiseNamedCausalLmIsOne) {
  for (const char* name : {"LLaMAForCausalLM", "MistralForCausalLM", "DIFFLLAMAFORCAUSALLM"}) {
    for (const char* type : {"llama", "diffllama"}) {
      json document = small();
      document["model_type"] = type;
      document["architectures"] = {name};
      const auto parsed = parse_text(document.dump());
      EXPECT_EQ(parsed.config.architecture, Architecture::causal_lm);
      EXPECT_THAT(parsed.warnings, IsEmpty());
      document["architectures"] = {"LlavaForConditionalGeneration"};
      EXPECT_THAT(refusal_of_text(document.dump()), HasSubstr("architectures: expected"));
    }
  }
}

TEST(ModelConfig, LlamasAttentionDropoutIsForTraining) {
  const auto llama = [](const char* dropout) {
    return with(R"({"model_type": "llama", "architectures": null, "attention_dropout": )" +
                std::string(dropout) + "}");
  };
  EXPECT_EQ(attention_dropout(parse_text(llama("0.1")).config), 0.1);
  EXPECT_EQ(attention_dropout(parse_text(llama("null")).config), 0);
  EXPECT_EQ(attention_dropout(ModelConfig{}), 0);
  EXPECT_THAT(refusal_of_text(llama("1")),
              HasSubstr("attention_dropout: expected a number from 0 to below 1, got 1"));
  EXPECT_THAT(refusal_of_text(llama("-0.1")), HasSubstr("from 0 to below 1, got -0.1"));
  const std::string text = write_model_config(parse_text(llama("0.25")).config);
  EXPECT_EQ(attention_dropout(parse_text(text).config), 0.25);
}

// transformers before 5 reads rope_theta and rope_scaling alone.
TEST(ModelConfig, WritesRotarySettingsInBothStyles) {
  const auto written = [](const std::string& fields) {
    return json::parse(write_model_config(parse(fields).config));
  };
  const json plain = written(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}})");
  EXPECT_EQ(plain.at("rope_theta"), 5.0);
  EXPECT_TRUE(plain.at("rope_scaling").is_null());
  const json llama3 = written(R"({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5.0,
      "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}})");
  EXPECT_EQ(llama3.at("rope_theta"), 5.0);
  EXPECT_EQ(llama3.at("rope_scaling"), (json{{"rope_type", "llama3"},
                                             {"factor", 8.0},
                                             {"low_freq_factor", 1.0},
                                             {"high_freq_factor", 4.0},
                                             {"original_max_position_embeddings", 2048}}));
  const json longrope = written(R"({"head_dim": 4, "rope_parameters": {"rope_type": "longrope",
      "short_factor": [1, 2], "long_factor": [3, 4], "original_max_position_embeddings": 512}})");
  EXPECT_EQ(longrope.at("original_max_position_embeddings"), 512);
}

TEST(ModelConfig, AddsTheOlderSpellingWhereItIsNeeded) {
  const auto made = [](const std::string& fields) {
    return config_for_every_version(with(fields), "config.json");
  };
  for (const char* fields :
       {"{}", R"({"rope_theta": 5.0})",
        R"({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}})",
        R"({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 5.0})"}) {
    EXPECT_EQ(made(fields), with(fields));
  }
  const json yarn = json::parse(made(R"({"rope_scaling": {"rope_type": "yarn", "factor": null,
      "original_max_position_embeddings": 512}})"));
  EXPECT_EQ(yarn.at("rope_scaling").at("factor"), 4.0);
  const json longrope = json::parse(made(R"({"head_dim": 4, "rope_scaling": {"type": "longrope",
      "short_factor": [1, 2], "long_factor": [3, 4], "original_max_position_embeddings": 512}})"));
  EXPECT_EQ(longrope.at("original_max_position_embeddings"), 512);
  const std::string changed = made(R"({"rope_parameters": {"rope_theta": 5.0}, "x": [1]})");
  EXPECT_EQ(json::parse(changed).at("rope_theta"), 5.0);
  EXPECT_EQ(json::parse(changed).at("x"), json({1}));
  EXPECT_EQ(parse_text(changed).config.rope.theta, 5.0);
  EXPECT_EQ(config_for_every_version(changed, "config.json"), changed);
}

TEST(ModelConfig, ReadsLabels) {
  const auto named = parse(R"({"id2label": {"1": "b", "0": "a", "2": "c"}})").config;
  EXPECT_THAT(named.labels, ElementsAre("a", "b", "c"));
  EXPECT_THAT(parse(R"({"num_labels": 3})").config.labels,
              ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_THAT(parse(R"({"num_labels": 2, "id2label": {"0": "a", "1": "b"}})").config.labels,
              ElementsAre("a", "b"));
  const auto contradicting = parse(R"({"num_labels": 1, "id2label": {"0": "a", "1": "b"}})");
  EXPECT_THAT(contradicting.config.labels, ElementsAre("LABEL_0"));
  EXPECT_THAT(
      contradicting.warnings,
      ElementsAre(HasSubstr("config.json: num_labels: 1 replaces the 2 names of id2label")));
  const auto gap = parse(R"({"id2label": {"0": "a", "5": "b"}})");
  EXPECT_THAT(gap.config.labels, ElementsAre("a", "LABEL_1"));
  EXPECT_THAT(gap.warnings, ElementsAre(HasSubstr("id2label: index 5 is outside the 2 labels")));
}

TEST(ModelConfig, WarnsOfTokensOutsideTheVocabulary) {
  const auto parsed = parse(R"({"pad_token_id": -1, "bos_token_id": 32, "eos_token_id": [2, 99]})");
  EXPECT_THAT(parsed.warnings,
              ElementsAre("config.json: pad_token_id: -1 is outside the vocabulary of 32",
                          "config.json: bos_token_id: 32 is outside the vocabulary of 32",
                          "config.json: eos_token_id: 99 is outside the vocabulary of 32"));
  EXPECT_EQ(parsed.config.pad_token_id, -1);
}

TEST(ModelConfig, RefusesWithFieldValueAndWhatIsAllowed) {
  const struct {
    const char* fields;
    const char* message;
  } cases[] = {
      {R"({"attention_dropout": 0.1})",
       "attention_dropout: expected 0 (attention dropout is not "
       "supported), got 0.1"},
      {R"({"num_attention_heads": 6, "num_key_value_heads": 3})",
       "num_key_value_heads: expected an even number (heads work in pairs), got 3"},
      {R"({"num_attention_heads": 6, "num_key_value_heads": 4})",
       "num_attention_heads: expected a multiple of num_key_value_heads 4, got 6"},
      {R"({"head_dim": 15})", "head_dim: expected an even number, got 15"},
      {R"({"head_dim": 0})", "head_dim: expected an integer from 1 to 2147483647, got 0"},
      {R"({"hidden_size": 3})", "head_dim: expected an integer from 1 to 2147483647, got 0"},
      {R"({"hidden_act": "mish"})",
       "hidden_act: expected silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, "
       "quick_gelu, relu, relu2, tanh or sigmoid, got \"mish\""},
      {R"({"hidden_act": null})", "hidden_act: expected silu"},
      {R"({"hidden_act": 3})", "hidden_act: expected a string, got 3"},
      {R"({"vocab_size": 0})", "vocab_size: expected an integer from 1 to 2147483647, got 0"},
      {R"({"vocab_size": -5})", "vocab_size: expected an integer from 1 to 2147483647, got -5"},
      {R"({"vocab_size": 4294967296})", "vocab_size: expected an integer from 1 to 2147483647"},
      {R"({"vocab_size": 18446744073709551615})", "vocab_size: expected an integer from -2^63"},
      {R"({"vocab_size": 1e40})", "vocab_size: expected an integer from -2^63"},
      {R"({"vocab_size": 32.0})", "vocab_size: expected an integer from -2^63 to 2^63-1, got 32.0"},
      {R"({"vocab_size": true})", "vocab_size: expected an integer from -2^63 to 2^63-1, got true"},
      {R"({"vocab_size": null})", "vocab_size: expected an integer from -2^63 to 2^63-1, got null"},
      {R"({"hidden_size": "64"})", "hidden_size: expected an integer"},
      {R"({"intermediate_size": 0})", "intermediate_size: expected an integer from 1"},
      {R"({"num_hidden_layers": 10001})",
       "num_hidden_layers: expected an integer from 1 to 10000, got 10001"},
      {R"({"num_attention_heads": 0})", "num_attention_heads: expected an integer above 0, got 0"},
      {R"({"num_attention_heads": -9223372036854775808, "head_dim": 2})",
       "num_attention_heads: expected an integer from 1 to 2147483647"},
      {R"({"num_key_value_heads": 0})", "num_key_value_heads: expected an integer from 1"},
      {R"({"num_attention_heads": 2000000000, "head_dim": 2000000000})",
       "head_dim: expected num_attention_heads * head_dim of at most 2147483647, got 2000000000 * "
       "2000000000"},
      {R"({"max_position_embeddings": 0})", "max_position_embeddings: expected an integer from 1"},
      {R"({"pad_token_id": 32})",
       "pad_token_id: expected null or an id below vocab_size 32, got 32"},
      {R"({"pad_token_id": "0"})", "pad_token_id: expected an integer"},
      {R"({"eos_token_id": "2"})",
       "eos_token_id: expected an integer, a list of integers, or null, got \"2\""},
      {R"({"eos_token_id": [1, null]})", "eos_token_id: expected an integer, a list of integers"},
      {R"({"initializer_range": -1})",
       "initializer_range: expected a finite number >= 0, got -1.0"},
      {R"({"rms_norm_eps": -1e-5})", "rms_norm_eps: expected a finite number >= 0, got -1e-05"},
      {R"({"rms_norm_eps": "1e-5"})", "rms_norm_eps: expected a number, got \"1e-5\""},
      {R"({"lambda_std_dev": -0.5})", "lambda_std_dev: expected a finite number >= 0, got -0.5"},
      {R"({"tie_word_embeddings": 1})", "tie_word_embeddings: expected true or false, got 1"},
      {R"({"attention_bias": null})", "attention_bias: expected true or false, got null"},
      {R"({"classifier_dropout": 1.5})",
       "classifier_dropout: expected a number from 0 to 1, got 1.5"},
      {R"({"model_type": "mistral"})",
       "model_type: expected diffllama, llama, diff_transformer, diff_transformer_v2 or motif, got "
       "\"mistral\""},
      {R"({"model_type": null, "architectures": null})",
       "model_type: expected diffllama, llama, diff_transformer, diff_transformer_v2 or motif, got "
       "null"},
      {R"({"architectures": ["LlamaForCausalLM"]})",
       "architectures: expected DiffLlamaModel, DiffLlamaForCausalLM, "
       "DiffLlamaForSequenceClassification, DiffLlamaForQuestionAnswering or "
       "DiffLlamaForTokenClassification first for model_type \"diffllama\", got "
       "[\"LlamaForCausalLM\"]"},
      {R"({"architectures": "DiffLlamaModel"})", "architectures: expected a list of class names"},
      {R"({"problem_type": "ranking"})",
       "problem_type: expected regression, single_label_classification or "
       "multi_label_classification, or null, got \"ranking\""},
      {R"({"problem_type": "single_label_classification", "num_labels": 1})",
       "problem_type: expected regression or multi_label_classification with 1 label"},
      {R"({"num_labels": -1})", "num_labels: expected an integer from 0 to 1000000, got -1"},
      {R"({"num_labels": 4000000000})", "num_labels: expected an integer from 0 to 1000000"},
      {R"({"architectures": ["DiffLlamaForTokenClassification"], "num_labels": 0})",
       "num_labels: expected at least 1, got 0"},
      {R"({"id2label": ["a"]})", "id2label: expected an object from indices to names, or null"},
      {R"({"id2label": {"a": "b"}})", "id2label: expected integers as keys, got \"a\""},
      {R"({"id2label": {"0": ["b"]}})", "id2label: expected names as values"},
      {R"({"quantization_config": {"bits": 4}})",
       "quantization_config: expected no such field (it is not supported), got {\"bits\":4}"},
      {R"({"is_causal": false})", "is_causal: expected true (false is not supported), got false"},
      {R"({"model_type": "llama", "architectures": ["LlamaModel"], "hidden_size": 66})",
       "hidden_size: expected a multiple of num_attention_heads 4, got 66"},
  };
  for (const auto& [fields, message] : cases) {
    EXPECT_THAT(refusal(fields), HasSubstr("config.json: " + std::string(message))) << fields;
  }
}

TEST(ModelConfig, RefusesTextThatIsNotAnObject) {
  EXPECT_THAT(refusal_of_text("[]"), HasSubstr("config.json: expected a JSON object, got []"));
  EXPECT_THAT(refusal_of_text(R"({"vocab_size": NaN})"), HasSubstr("config.json: expected JSON"));
  EXPECT_THAT(refusal_of_text(R"({"vocab_size": 1, "vocab_size": 2})"), HasSubstr("twice"));
  EXPECT_THAT(refusal_of_text(std::string(10'000, '{')), HasSubstr("config.json: expected JSON"));
}

TEST(ModelConfig, ValidatesWhatNoFileGave) {
  const auto message = [](const ModelConfig& config) -> std::string {
    try {
      validate(config);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  ModelConfig config;
  EXPECT_EQ(message(config), "accepted");
  config.rms_norm_eps = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(
      message(config),
      HasSubstr("model configuration: rms_norm_eps: expected a finite number >= 0, got nan"));
  config = {};
  config.initializer_range = std::numeric_limits<double>::infinity();
  EXPECT_THAT(message(config), HasSubstr("initializer_range: expected a finite number"));
  config = {};
  config.rope.theta = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(message(config), HasSubstr("rope_theta: expected a number above 0, got nan"));
  config = {};
  config.dtype = DType::q8_0;
  EXPECT_THAT(message(config), HasSubstr("dtype: expected float32"));
  config = {};
  config.rope.frequency_divisors = {1.0, 2.0};
  EXPECT_THAT(message(config),
              HasSubstr("frequency_divisors: expected 32 values (head_dim / 2), got 2"));
}

TEST(WriteModelConfig, ReadsBackAsTheSameAndKeepsUnknownFields) {
  const std::string cases[] = {
      "{}",
      R"({"zap": [1, {"a": null}], "transformers_version": "4.40.0", "torch_dtype": "bfloat16"})",
      R"({"num_labels": 3, "problem_type": "multi_label_classification", "hidden_dropout": 0.5})",
      R"({"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}})",
      R"({"eos_token_id": [3, 4], "bos_token_id": null, "pad_token_id": 0})",
      R"({"eos_token_id": null, "token_classification_bias": false, "classifier_dropout": 0})",
      R"({"rope_theta": 5000, "rope_scaling": {"type": "linear", "factor": 4}})",
      R"({"rope_parameters": {"rope_type": "dynamic", "factor": 2.5, "rope_theta": 77.0}})",
      R"({"original_max_position_embeddings": 100, "rope_scaling": {"type": "yarn", "factor": null,
          "beta_fast": 16, "mscale": 0.7, "mscale_all_dim": 0.5, "truncate": null}})",
      R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1, 1, 1.5],
          "long_factor": [2, 2, 2, 2, 2, 2, 2, 3], "attention_factor": 1.25}})",
      R"({"rope_scaling": {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 512}})",
      R"({"model_type": "llama", "architectures": ["LlamaForQuestionAnswering"],
          "mlp_bias": true})"};
  for (const std::string& fields : cases) {
    const ModelConfig first = parse(fields).config;
    const std::string text = write_model_config(first);
    const auto [second, warnings] = parse_text(text);
    // Every field that is read is also written, so equal texts mean equal configurations.
    EXPECT_EQ(write_model_config(second), text) << fields;
    EXPECT_EQ(second.labels, first.labels);
    EXPECT_EQ(second.rope.type, first.rope.type);
    EXPECT_EQ(second.rope.theta, first.rope.theta);
    // Null is a number for yarn, which transformers before 5 asks for.
    EXPECT_EQ(second.rope.factor, first.rope.type == RopeType::yarn ? 20.48 : first.rope.factor);
    EXPECT_EQ(second.rope.original_max_position_embeddings,
              first.rope.original_max_position_embeddings);
    EXPECT_EQ(second.rope.truncate, first.rope.truncate);
    EXPECT_EQ(second.rope.long_factor, first.rope.long_factor);
    EXPECT_EQ(second.eos_token_ids, first.eos_token_ids);
    EXPECT_EQ(second.mlp_bias, first.mlp_bias);
    const json document = json::parse(text);
    EXPECT_EQ(document.contains("zap"), fields.find("zap") != std::string::npos);
    EXPECT_EQ(document.contains("torch_dtype"), document.contains("dtype"));
    EXPECT_EQ(document.at("rope_theta"), first.rope.theta);
  }
}

TEST(WriteModelConfig, WritesFrequencyDivisorsAsLongropeFactors) {
  ModelConfig config = parse("{}").config;
  config.rope.frequency_divisors = {1, 1, 1, 2, 3, 4, 8, 8};
  const ModelConfig read = parse_text(write_model_config(config)).config;
  EXPECT_EQ(read.rope.type, RopeType::longrope);
  EXPECT_EQ(read.rope.short_factor, config.rope.frequency_divisors);
  EXPECT_EQ(read.rope.long_factor, config.rope.frequency_divisors);
  EXPECT_EQ(read.rope.attention_factor, 1.0);
}

TEST(WriteModelConfig, RefusesAConfigurationThatWouldNotLoad) {
  ModelConfig config;
  config.num_key_value_heads = 3;
  EXPECT_THROW(write_model_config(config), ConfigError);
  config = {};
  config.source_json = "[]";
  EXPECT_THROW(write_model_config(config), FormatError);
}

}  // namespace
}  // namespace diffllama
