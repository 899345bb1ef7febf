#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_test_writer.h"
#include "checkpoint/safetensors/safetensors.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kGolden = fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/gguf";

std::vector<float> floats(const TensorView& view) {
  std::vector<float> values(view.bytes.size() / sizeof(float));
  std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
  return values;
}

std::vector<float> all_rows(const StoredTensor& tensor) {
  const Shape& shape = tensor.view.shape;
  const auto columns = static_cast<std::size_t>(shape.back());
  const std::int64_t rows = shape.size() > 1 ? shape[0] : 1;
  std::vector<float> values(static_cast<std::size_t>(rows) * columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    tensor.read_row(i, std::span(values).subspan(static_cast<std::size_t>(i) * columns, columns));
  }
  return values;
}

void expect_golden(const std::string& name) {
  std::vector<std::string> warnings;
  const Checkpoint checkpoint = Checkpoint::open(
      kGolden / (name + ".gguf"), [&](const std::string& text) { warnings.push_back(text); });
  EXPECT_THAT(warnings, IsEmpty());
  const SafetensorsFile expected(kGolden / (name + ".safetensors"));
  std::size_t found = 0;
  for (const TensorSpec& spec : tensor_specs(checkpoint.config())) {
    const StoredTensor* tensor = checkpoint.find(spec.name);
    if (tensor == nullptr) continue;
    ++found;
    ASSERT_EQ(expected.tensors().count(spec.name), 1U) << spec.name;
    EXPECT_EQ(all_rows(*tensor), floats(expected.tensors().at(spec.name))) << spec.name;
  }
  EXPECT_EQ(found, expected.tensors().size());
}

TEST(GgufModel, ReadsALlamaAsTransformersDoes) {
  expect_golden("llama");
  const ModelConfig config = Checkpoint::open(kGolden / "llama.gguf").config();
  EXPECT_EQ(config.model_type, ModelType::llama);
  EXPECT_EQ(config.architecture, Architecture::causal_lm);
  EXPECT_EQ(config.vocab_size, 48);  // rows of the embeddings; the vocabulary has 45
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.num_hidden_layers, 1);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_position_embeddings, 128);
  EXPECT_EQ(config.rms_norm_eps, static_cast<double>(1e-5F));
  EXPECT_EQ(config.rope.theta, 50000.0);
  EXPECT_EQ(config.rope.type, RopeType::default_rope);
  EXPECT_EQ(config.bos_token_id, 3);
  EXPECT_EQ(config.pad_token_id, 2);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(4));
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
}

TEST(GgufModel, ReadsADiffLlamaWithItsConfig) {
  expect_golden("diffllama");
  const ModelConfig config = Checkpoint::open(kGolden / "diffllama.gguf").config();
  EXPECT_EQ(config.model_type, ModelType::diffllama);
  EXPECT_EQ(config.hidden_act, Activation::gelu);
  EXPECT_EQ(config.lambda_std_dev, 0.2);
  EXPECT_EQ(config.rope.type, RopeType::dynamic);
  EXPECT_EQ(config.rope.factor, 2.0);
  EXPECT_TRUE(config.tie_word_embeddings);
}

// A model of one layer: C 8, F 6, V 5, H 4, K 2, d 2.
class GgufModelFile : public testing::Test {
 protected:
  explicit GgufModelFile(std::string arch = "llama") : arch_(std::move(arch)) {}

  void add_config() {
    file_.add("general.architecture", arch_);
    add("block_count", 1U);
    add("context_length", 64U);
    add("embedding_length", 8U);
    add("feed_forward_length", 6U);
    add("attention.head_count", 4U);
    add("attention.head_count_kv", 2U);
    add("attention.layer_norm_rms_epsilon", 1e-6F);
  }
  void add_weights() {
    file_.add_counting("token_embd.weight", {8, 5});
    file_.add_counting("output_norm.weight", {8});
    for (const char* norm : {"attn_norm", "ffn_norm"}) {
      file_.add_counting(std::string("blk.0.") + norm + ".weight", {8});
    }
    file_.add_counting("blk.0.attn_q.weight", {8, 8});
    file_.add_counting("blk.0.attn_k.weight", {8, 4});
    file_.add_counting("blk.0.attn_v.weight", {8, 4});
    file_.add_counting("blk.0.attn_output.weight", {8, 8});
    file_.add_counting("blk.0.ffn_gate.weight", {8, 6});
    file_.add_counting("blk.0.ffn_up.weight", {8, 6});
    file_.add_counting("blk.0.ffn_down.weight", {6, 8});
  }
  template <class Value>
  void add(const char* key, Value value) {
    file_.add(arch_ + "." + key, value);
  }
  Checkpoint open() {
    warnings_.clear();
    return Checkpoint::open(directory_.write("m.gguf", file_.bytes()),
                            [this](const std::string& text) { warnings_.push_back(text); });
  }
  std::string refused() {
    return refusal([&] { open(); });
  }
  // The message for a whole model with one more metadata key.
  template <class... Value>
  std::string refused_with(const std::string& key, Value... value) {
    file_ = {};
    add_config();
    add_weights();
    file_.add(key, value...);
    return refused();
  }

  std::string arch_;
  GgufTestWriter file_;
  TestDirectory directory_;
  std::vector<std::string> warnings_;
};

TEST_F(GgufModelFile, OpensWithDefaults) {
  add_config();
  add_weights();
  const Checkpoint checkpoint = open();
  EXPECT_THAT(warnings_, IsEmpty());
  const ModelConfig& config = checkpoint.config();
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.head_dim, 2);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_EQ(config.bos_token_id, std::nullopt);
  EXPECT_EQ(config.pad_token_id, std::nullopt);
  EXPECT_THAT(config.eos_token_ids, IsEmpty());
  EXPECT_EQ(config.hidden_act, Activation::silu);
}

TEST_F(GgufModelFile, PutsRotaryRowsBackInOrder) {
  // d = 4 with 2 heads, 1 KV head: rows 0 1 2 3 of a head are stored as 0 2 1 3.
  file_.add("general.architecture", "llama");
  add("block_count", 1U);
  add("context_length", 64U);
  add("embedding_length", 8U);
  add("feed_forward_length", 6U);
  add("attention.head_count", 2U);
  add("attention.head_count_kv", 1U);
  add("attention.layer_norm_rms_epsilon", 1e-6F);
  add_weights();
  for (const char* name : {"attn_q", "attn_output"}) {
    file_.add_counting(std::string("blk.0.") + name + ".bias", {8});
  }
  for (const char* name : {"attn_k", "attn_v"}) {
    file_.add_counting(std::string("blk.0.") + name + ".bias", {4});
  }
  const Checkpoint checkpoint = open();
  EXPECT_TRUE(checkpoint.config().attention_bias);
  const auto first_column = [&](const std::string& name) {
    const StoredTensor* tensor = checkpoint.find("model.layers.0.self_attn." + name);
    const std::vector<float> values = all_rows(*tensor);
    std::vector<float> column;
    for (std::size_t i = 0; i < values.size(); i += 8) column.push_back(values[i] / 8);
    return column;
  };
  EXPECT_THAT(first_column("q_proj.weight"), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(first_column("k_proj.weight"), ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(first_column("v_proj.weight"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(all_rows(*checkpoint.find("model.layers.0.self_attn.q_proj.bias")),
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(all_rows(*checkpoint.find("model.layers.0.self_attn.v_proj.bias")),
              ElementsAre(0, 1, 2, 3));
}

TEST_F(GgufModelFile, NamesMissingExtraAndMisshapedTensors) {
  add_config();
  add_weights();
  file_.add_counting("output.weight", {8, 4});
  add("attention.key_length", 4U);
  file_.add_counting("blk.0.attn_rot_embd.weight", {2});
  EXPECT_THAT(
      refused(),
      AllOf(HasSubstr("m.gguf: expected the config's tensors; mis-shaped: "
                      "model.layers.0.self_attn.q_proj.weight (expected [16, 8], got [8, 8])"),
            HasSubstr("lm_head.weight (expected [5, 8], got [4, 8])")));
  EXPECT_EQ(refused_with("x", true), "accepted");
  file_ = {};
  add_config();
  add("vocab_size", 5U);
  EXPECT_THAT(refused(), AllOf(HasSubstr("missing: model.embed_tokens.weight [5, 8]"),
                               HasSubstr("model.layers.0.mlp.down_proj.weight [8, 6]")));
  file_ = {};
  add_config();
  add_weights();
  file_.add_counting("blk.7.odd.weight", {2});
  open();
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("does not use: \"blk.7.odd.weight\"")));
}

TEST_F(GgufModelFile, RefusesArchitectures) {
  arch_ = "qwen2";
  add_config();
  EXPECT_EQ(refused(),
            (directory_.path() / "m.gguf").string() +
                ": key \"general.architecture\": expected diffllama, llama, diff_transformer, "
                "diff_transformer_v2 or motif, got "
                "\"qwen2\"");
  file_ = {};
  file_.add("general.architecture", std::uint32_t{1});
  EXPECT_THAT(refused(),
              HasSubstr("key \"general.architecture\": expected a string, got a uint32"));
  file_ = {};
  EXPECT_THAT(
      refused(),
      HasSubstr(
          "expected diffllama, llama, diff_transformer, diff_transformer_v2 or motif, got none"));
}

TEST_F(GgufModelFile, RefusesKnownKeysOfOtherTypes) {
  file_.add("general.architecture", arch_);
  add("block_count", std::vector<std::int32_t>{1, 2});
  EXPECT_THAT(refused(),
              HasSubstr("key \"llama.block_count\": expected an integer, got an array of 2 int32"));
  EXPECT_THAT(
      refused_with("llama.rope.freq_base", "x"),
      HasSubstr("key \"llama.rope.freq_base\": expected a float32 or float64, got a string"));
  EXPECT_THAT(refused_with("llama.attention.key_length", 2.0F), HasSubstr("expected an integer"));
  EXPECT_THAT(refused_with("llama.rope.scaling.type", 1U), HasSubstr("expected a string"));
  EXPECT_THAT(refused_with("tokenizer.ggml.tokens", "x"), HasSubstr("expected an array"));
  EXPECT_THAT(refused_with("general.alignment", "32"), HasSubstr("got a string"));
}

TEST_F(GgufModelFile, RefusesMissingKeys) {
  file_.add("general.architecture", arch_);
  EXPECT_THAT(refused(), HasSubstr("key \"llama.block_count\": expected an integer, got none"));
}

TEST_F(GgufModelFile, RefusesLayerCountsBeyondLimits) {
  for (const std::uint64_t count :
       {std::uint64_t{0}, std::uint64_t{9999}, std::uint64_t{1} << 40, std::uint64_t{INT64_MAX}}) {
    file_ = {};
    file_.add("general.architecture", arch_);
    file_.add("llama.block_count", 10, raw(count));
    add("context_length", 64U);
    add("embedding_length", 8U);
    add("feed_forward_length", 6U);
    add("attention.head_count", 4U);
    add("attention.layer_norm_rms_epsilon", 1e-6F);
    add_weights();
    EXPECT_THAT(refused(), HasSubstr(std::to_string(count)));
  }
}

TEST_F(GgufModelFile, RefusesHeadsThatDoNotFit) {
  add_config();
  add_weights();
  add("attention.key_length", 4U);
  add("rope.dimension_count", 2U);
  EXPECT_THAT(refused(), HasSubstr("key \"llama.rope.dimension_count\": expected 4, as the keys' "
                                   "length, got 2"));
  EXPECT_THAT(
      refused_with("llama.attention.value_length", 3U),
      HasSubstr("key \"llama.attention.value_length\": expected 2, as the keys' length, got 3"));
  EXPECT_THAT(refused_with("llama.expert_count", 8U),
              HasSubstr("mixtures of experts are not supported, got 8"));
  EXPECT_THAT(refused_with("split.count", 2, raw<std::uint16_t>(3)),
              HasSubstr("m.gguf: expected a name that ends in -00001-of-00003.gguf"));
}

TEST_F(GgufModelFile, WarnsOfKeysThatAreNotRead) {
  add_config();
  add_weights();
  add("attention.sliding_window", 4U);
  file_.add("general.name", "x");
  open();
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("keys that are not read: "
                                               "llama.attention.sliding_window")));
}

TEST_F(GgufModelFile, RefusesVocabulariesThatDoNotFit) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(refused_with("tokenizer.ggml.tokens", Words{"a", "b", "c"}), "accepted");
  EXPECT_THAT(
      refused_with("tokenizer.ggml.tokens", Words(6, "a")),
      HasSubstr("key \"tokenizer.ggml.tokens\": expected at most 5 tokens, one for each row "
                "of token_embd.weight, got 6"));
  for (const char* name :
       {"bos_token_id", "eos_token_id", "padding_token_id", "eot_token_id", "eom_token_id"}) {
    const std::string key = std::string("tokenizer.ggml.") + name;
    EXPECT_EQ(refused_with(key, 4U), "accepted");
    EXPECT_THAT(refused_with(key, 5U),
                HasSubstr("key \"" + key + "\": expected a token id from 0 to 4, got 5"));
    EXPECT_THAT(refused_with(key, 5, raw<std::int32_t>(-1)), HasSubstr("got -1"));
    EXPECT_THAT(refused_with(key, 10, raw(UINT64_MAX)), HasSubstr("an integer up to 2^63-1"));
  }
}

TEST_F(GgufModelFile, TakesSizesThatAreEqualInAllLayers) {
  const auto with = [&](const std::string& key, const std::string& list) {
    file_ = {};
    file_.add("general.architecture", arch_);
    for (const char* name :
         {"block_count", "context_length", "embedding_length", "feed_forward_length",
          "attention.head_count", "attention.head_count_kv"}) {
      const std::uint32_t size = std::string_view(name) == "block_count"               ? 1
                                 : std::string_view(name) == "attention.head_count"    ? 4
                                 : std::string_view(name) == "attention.head_count_kv" ? 2
                                 : std::string_view(name) == "feed_forward_length"     ? 6
                                                                                       : 8;
      if (key != name) add(name, size);
    }
    add("attention.layer_norm_rms_epsilon", 1e-6F);
    file_.add("llama." + key, 9, list);
    add_weights();
    return refused();
  };
  const auto list = [](std::uint32_t type, const std::vector<std::uint32_t>& values) {
    std::string bytes = raw(type) + raw<std::uint64_t>(values.size());
    for (const std::uint32_t value : values) bytes += raw(value);
    return bytes;
  };
  for (const std::uint32_t type : {4U, 5U}) {
    EXPECT_EQ(with("feed_forward_length", list(type, {6})), "accepted");
    EXPECT_EQ(with("attention.head_count", list(type, {4})), "accepted");
    EXPECT_EQ(with("attention.head_count_kv", list(type, {2})), "accepted");
  }
  EXPECT_THAT(with("attention.head_count_kv", list(4, {2, 2})),
              HasSubstr("one entry for each of the 1 layers, all equal, got an array of 2 uint32"));
  EXPECT_THAT(with("attention.head_count_kv", list(4, {})), HasSubstr("got an array of 0 uint32"));
  EXPECT_THAT(with("feed_forward_length", list(6, {6})), HasSubstr("got an array of 1 float32"));
  EXPECT_THAT(with("embedding_length", list(4, {8})), HasSubstr("expected an integer"));
}

TEST_F(GgufModelFile, ReadsRotaryScaling) {
  const auto rope = [&] { return open().config().rope; };
  const auto start = [&] {
    file_ = {};
    add_config();
    add_weights();
  };
  start();
  add("rope.scaling.type", "none");
  add("rope.freq_base", 500000.0F);
  EXPECT_EQ(rope().type, RopeType::default_rope);
  EXPECT_EQ(rope().theta, 500000.0);

  start();
  add("rope.scaling.type", "linear");
  add("rope.scaling.factor", 4.0F);
  EXPECT_EQ(rope().type, RopeType::linear);
  EXPECT_EQ(rope().factor, 4.0);

  start();
  add("rope.scale_linear", 2.0F);
  EXPECT_EQ(rope().type, RopeType::linear);

  start();
  add("rope.scaling.type", "yarn");
  add("rope.scaling.factor", 4.0F);
  add("rope.scaling.original_context_length", 16U);
  add("rope.scaling.yarn_beta_fast", 16.0F);
  RopeParameters yarn = rope();
  EXPECT_EQ(yarn.type, RopeType::yarn);
  EXPECT_EQ(yarn.factor, 4.0);
  EXPECT_EQ(yarn.original_max_position_embeddings, 16);
  EXPECT_EQ(yarn.beta_fast, 16.0);
  EXPECT_EQ(yarn.attention_factor, std::nullopt);
  add("rope.scaling.attn_factor", 0.5F);
  EXPECT_DOUBLE_EQ(rope().attention_factor.value_or(0), 0.5 * (0.1 * std::log(4.0) + 1));

  start();
  file_.add_counting("rope_factors_short.weight", {1}, 1.0F);
  file_.add_counting("rope_factors_long.weight", {1}, 3.0F);
  add("rope.scaling.original_context_length", 16U);
  add("rope.scaling.attn_factor", 1.25F);
  const RopeParameters longrope = rope();
  EXPECT_THAT(warnings_, IsEmpty());
  EXPECT_EQ(longrope.type, RopeType::longrope);
  EXPECT_THAT(longrope.short_factor, ElementsAre(1.0));
  EXPECT_THAT(longrope.long_factor, ElementsAre(3.0));
  EXPECT_EQ(longrope.attention_factor, 1.25);

  start();
  file_.add_counting("rope_freqs.weight", {1}, 8.0F);
  EXPECT_THAT(rope().frequency_divisors, ElementsAre(8.0));
  EXPECT_EQ(rope().type, RopeType::default_rope);
  add("rope.scaling.factor", 2.0F);
  EXPECT_THAT(rope().frequency_divisors, ElementsAre(16.0));
}

TEST_F(GgufModelFile, RefusesRotaryScaling) {
  EXPECT_THAT(refused_with("llama.rope.scaling.type", "su"),
              HasSubstr("key \"llama.rope.scaling.type\": expected none, linear, yarn or longrope, "
                        "got su"));
  EXPECT_THAT(refused_with("llama.rope.scaling.type", "yarn"),
              HasSubstr("key \"llama.rope.scaling.factor\": expected a number for yarn, got none"));
  EXPECT_THAT(refused_with("llama.rope.scaling.type", "longrope"), HasSubstr("short_factor"));
  for (const float value : {0.0F, -1.0F, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(refused_with("llama.rope.freq_base", value),
                HasSubstr("key \"llama.rope.freq_base\": expected a positive number"));
  }
  file_ = {};
  add_config();
  add_weights();
  file_.add_counting("rope_freqs.weight", {2}, 1.0F);
  EXPECT_THAT(refused(),
              HasSubstr("tensor rope_freqs.weight: expected float32 [1], got float32 [2]"));
  file_ = {};
  add_config();
  add_weights();
  file_.add_counting("rope_freqs.weight", {1}, 0.0F);
  EXPECT_THAT(refused(), HasSubstr("tensor rope_freqs.weight: expected positive numbers, got 0"));
}

class GgufDiffLlamaFile : public GgufModelFile {
 protected:
  GgufDiffLlamaFile() : GgufModelFile("diffllama") {}
  void add_lambda() {
    for (const char* name : {"q1", "k1", "q2", "k2"}) {
      file_.add_counting(std::string("blk.0.attn_lambda_") + name + ".weight", {2});
    }
  }
};

TEST_F(GgufDiffLlamaFile, OpensWithoutItsConfigAndDoesNotPermute) {
  add_config();
  add_weights();
  EXPECT_THAT(refused(), HasSubstr("missing: model.layers.0.self_attn.lambda_q1 [2]"));
  add_lambda();
  const Checkpoint checkpoint = open();
  EXPECT_EQ(checkpoint.config().model_type, ModelType::diffllama);
  const StoredTensor* q = checkpoint.find("model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(q->interleaved_heads, 0);
}

TEST_F(GgufDiffLlamaFile, RefusesOtherHeads) {
  for (const char* head :
       {"ForSequenceClassification", "ForQuestionAnswering", "ForTokenClassification", "Model"}) {
    file_ = {};
    file_.add("general.architecture", arch_);
    file_.add(
        "diffllama.config",
        std::string(R"({"model_type":"diffllama","architectures":["DiffLlama)") + head + "\"]}");
    EXPECT_THAT(refused(), HasSubstr("key \"diffllama.config\": expected DiffLlamaForCausalLM, the "
                                     "one class that GGUF holds, got DiffLlama" +
                                     std::string(head)));
  }
  file_ = {};
  file_.add("general.architecture", arch_);
  file_.add("diffllama.config", "{");
  EXPECT_THAT(refused(), HasSubstr("m.gguf: diffllama.config: expected JSON"));
  file_ = {};
  file_.add("general.architecture", arch_);
  file_.add("diffllama.config", R"({"model_type":"llama","architectures":["LlamaForCausalLM"]})");
  EXPECT_THAT(refused(), HasSubstr("expected model_type diffllama, got llama"));
}

// Whatever a file holds, opening it as a model ends in a model or in a typed error.
TEST_F(GgufModelFile, SurvivesRandomChanges) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  add_config();
  file_.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  add("rope.scaling.type", "linear");
  add("rope.scaling.factor", 2.0F);
  file_.add("tokenizer.ggml.bos_token_id", 1U);
  add_weights();
  const std::string valid = file_.bytes();
  const std::size_t head = valid.size() - file_.data.size();
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = valid;
    for (auto changes = 1 + random() % 2; changes > 0; --changes) {
      const std::size_t at = random() % head;
      if (random() % 2 == 0) {
        bytes[at] = static_cast<char>(random());
      } else {
        bytes.replace(at, 8, raw(std::uint64_t{1} << random() % 64));
      }
    }
    try {
      const Checkpoint checkpoint = Checkpoint::from_gguf(
          GgufFile(std::as_bytes(std::span(bytes)), "m.gguf"), [](const std::string&) {});
      for (const TensorSpec& spec : tensor_specs(checkpoint.config())) {
        const StoredTensor* tensor = checkpoint.find(spec.name);
        if (tensor != nullptr) accepted += all_rows(*tensor).empty() ? 0 : 1;
      }
    } catch (const Error& error) {
      ASSERT_STRNE(error.what(), "");
    }
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace diffllama
