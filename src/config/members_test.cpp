// The fields of the family's members in config.json: read, written, refused by name.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "config/model_config.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

json small(const std::string& type) {
  return {{"model_type", type},      {"vocab_size", 32},        {"hidden_size", 64},
          {"intermediate_size", 48}, {"num_hidden_layers", 2},  {"num_attention_heads", 8},
          {"head_dim", 8},           {"num_key_value_heads", 2}};
}

ModelConfig parse(const std::string& type, const std::string& fields = "{}") {
  json document = small(type);
  document.update(json::parse(fields));
  return parse_model_config(document.dump(), "config.json", [](const std::string&) {});
}

std::string refusal(const std::string& type, const std::string& fields) {
  try {
    parse(type, fields);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Members, HaveDefaults) {
  const ModelConfig v1 = parse("diff_transformer");
  EXPECT_EQ(v1.subln_eps, 1e-5);
  EXPECT_TRUE(v1.rope_interleaved);
  EXPECT_FALSE(v1.kv_pairs);
  EXPECT_FALSE(v1.lambda_init);
  const ModelConfig motif = parse("motif");
  EXPECT_EQ(motif.subln_eps, 1e-5);
  EXPECT_EQ(motif.hidden_act, Activation::poly_norm);
  EXPECT_FALSE(motif.num_noise_heads);
  EXPECT_FALSE(motif.qkv_bias);
}

TEST(Members, ReadMotifsBiases) {
  struct Biases {
    const char* fields;
    bool attention, mlp;
    std::optional<bool> qkv;
  };
  for (const Biases& wanted :
       {Biases{R"({"use_bias": true})", true, true, {}},
        Biases{R"({"attention_bias": true})", true, false, {}},
        Biases{R"({"use_bias": true, "qkv_bias": false})", true, true, false},
        Biases{R"({"qkv_bias": true})", false, false, true},
        Biases{R"({"qkv_bias": null})", false, false, {}}}) {
    SCOPED_TRACE(wanted.fields);
    const ModelConfig config = parse("motif", wanted.fields);
    EXPECT_EQ(config.attention_bias, wanted.attention);
    EXPECT_EQ(config.mlp_bias, wanted.mlp);
    EXPECT_EQ(config.qkv_bias, wanted.qkv);
  }
}

TEST(Members, AreWrittenAsTheyWereRead) {
  const std::pair<const char*, const char*> cases[] = {
      {"diff_transformer", R"({"subln_eps": 0.5, "kv_pairs": true, "rope_interleaved": false})"},
      {"diff_transformer", R"({"lambda_init": 0.8})"},
      {"diff_transformer_v2", R"({"rope_interleaved": false, "mlp_bias": true})"},
      {"motif", R"({"num_noise_heads": 2, "attn_rms_norm_eps": 0.25, "use_bias": true,
                    "qkv_bias": false, "num_key_value_heads": 4, "k_ratio": 1})"},
      {"llama", R"({"qk_norm": true})"},
      {"llama", R"({"dex": {"layers": [1, 0], "heads": [[3, 1], [2]]}})"},
      {"llama", R"({"dex": {"layers": [1], "heads": [7, 0]}})"},
  };
  for (const auto& [type, fields] : cases) {
    SCOPED_TRACE(std::string(type) + " " + fields);
    const ModelConfig config = parse(type, fields);
    ModelConfig bare = config;
    bare.source_json.clear();
    for (const ModelConfig& written : {config, bare}) {
      const std::string text = write_model_config(written);
      const ModelConfig again = parse_model_config(text, "config.json", [](const std::string&) {});
      EXPECT_EQ(again.model_type, config.model_type);
      EXPECT_EQ(again.hidden_act, config.hidden_act);
      EXPECT_EQ(again.attention_bias, config.attention_bias);
      EXPECT_EQ(again.mlp_bias, config.mlp_bias);
      EXPECT_EQ(again.qkv_bias, config.qkv_bias);
      EXPECT_EQ(again.qk_norm, config.qk_norm);
      EXPECT_EQ(again.rope_interleaved, config.rope_interleaved);
      EXPECT_EQ(again.kv_pairs, config.kv_pairs);
      EXPECT_EQ(again.subln_eps, config.subln_eps);
      EXPECT_EQ(again.lambda_init, config.lambda_init);
      EXPECT_EQ(again.num_noise_heads, config.num_noise_heads);
      ASSERT_EQ(again.dex.size(), config.dex.size());
      for (std::size_t i = 0; i < config.dex.size(); ++i) {
        EXPECT_EQ(again.dex[i].layer, config.dex[i].layer);
        EXPECT_EQ(again.dex[i].heads, config.dex[i].heads);
      }
    }
  }
  EXPECT_EQ(parse("llama", R"({"dex": {"layers": [1, 0], "heads": [[3, 1], [2]]}})").dex[0].heads,
            std::vector<std::int64_t>{2});  // by layer
}

TEST(Members, AreRefusedByName) {
  struct Refused {
    const char *type, *fields, *message;
  };
  const Refused cases[] = {
      {"Motif", R"({"kv_lora_rank": 512})",
       "config.json: kv_lora_rank: expected no such field (latent attention is not supported), got "
       "512"},
      {"motif", R"({"k_ratio": 2})",
       "config.json: k_ratio: expected 1 (other ratios are not supported), got 2"},
      {"motif", R"({"use_sliding_window": true})",
       "config.json: use_sliding_window: expected false (sliding windows are not supported), got "
       "true"},
      {"motif", R"({"num_noise_heads": 3})",
       "config.json: num_attention_heads: expected a multiple of num_noise_heads 3, and more, got "
       "8"},
      {"motif", R"({"num_noise_heads": 8})",
       "config.json: num_attention_heads: expected a multiple of num_noise_heads 8, and more, got "
       "8"},
      {"motif", R"({"num_noise_heads": -1})",
       "config.json: num_noise_heads: expected an integer from 1 to 2147483647, got -1"},
      {"motif", R"({"num_noise_heads": 2, "num_key_value_heads": 8})",
       "config.json: num_key_value_heads: expected twice a divisor of the 2 noise heads, got 8"},
      {"motif", R"({"num_key_value_heads": 3})",
       "config.json: num_key_value_heads: expected an even number (heads work in pairs), got 3"},
      {"motif", R"({"num_attention_heads": 7})",
       "config.json: num_attention_heads: expected an even number (heads work in pairs), got 7"},
      {"diff_transformer", R"({"num_key_value_heads": 1})",
       "config.json: num_key_value_heads: expected an even number (heads work in pairs), got 1"},
      {"diff_transformer_v2", R"({"num_key_value_heads": 8})",
       "config.json: num_attention_heads: expected a multiple of twice num_key_value_heads 8, got "
       "8"},
      {"diff_transformer", R"({"qk_norm": true})",
       "config.json: qk_norm: expected false (a Llama alone has it), got true"},
      {"diffllama", R"({"dex": {"layers": [0], "heads": [0]}})",
       "config.json: dex: expected no such field (a Llama alone has it), got "
       R"({"heads":[0],"layers":[0]})"},
      {"llama", R"({"dex": {"layers": [2], "heads": [0]}})",
       "config.json: dex: expected different layers from 0 to 1, got 2"},
      {"llama", R"({"dex": {"layers": [0], "heads": [0, 0]}})",
       "config.json: dex: expected different heads from 0 to 7, got 0"},
      {"llama", R"({"dex": {"layers": [0], "heads": []}})",
       "config.json: dex: expected heads for each layer, got none"},
      {"llama", R"({"dex": {"layers": [0]}})",
       "config.json: dex: expected an object with lists of integers \"layers\" and \"heads\" "
       "(heads: "
       "one list, or one for each layer), got {\"layers\":[0]}"},
      {"diff_transformer_v2", R"({"hidden_act": "poly_norm"})",
       "config.json: hidden_act: expected silu, swish, gelu, gelu_new, gelu_pytorch_tanh, "
       "gelu_fast, quick_gelu, relu, relu2, tanh or sigmoid, got \"poly_norm\""},
  };
  for (const Refused& refused : cases) {
    EXPECT_EQ(refusal(refused.type, refused.fields), refused.message);
  }
}

// What would compute something else under the same names.
TEST(Members, RefuseWhatTheyDoNotHave) {
  struct Refused {
    const char *type, *fields, *expected;
  };
  const Refused cases[] = {
      {"motif", R"({"layer_types": ["full_attention", "sliding_attention"]})",
       "layer_types: expected \"full_attention\" for each layer"},
      {"diff_transformer", R"({"layer_types": "x"})", "layer_types: expected \"full_attention\""},
      {"diff_transformer_v2", R"({"use_sliding_window": true})",
       "use_sliding_window: expected false (sliding windows are not supported), got true"},
      {"motif", R"({"partial_rotary_factor": 0.5})",
       "partial_rotary_factor: expected 1 (other factors are not supported), got 0.5"},
      {"diff_transformer", R"({"rope_parameters": {"rope_type": "default", "rope_theta": 10000,
                               "partial_rotary_factor": 0.5}})",
       "rope_parameters: partial_rotary_factor: expected 1"},
      {"motif", R"({"scale_emb": 12})", "scale_emb: expected 1 (scaled embeddings"},
      {"motif", R"({"mlp_bias": true})",
       "mlp_bias: expected false (use_bias gives a motif its biases), got true"},
      {"motif", R"({"grouped_ratio": 4})",
       "grouped_ratio: expected 1 (what the numbers of heads make it), got 4"},
      {"motif", R"({"grouped_ratio": 1, "num_noise_heads": 2})",
       "grouped_ratio: expected 3 (what the numbers of heads make it), got 1"},
      {"motif", R"({"kv_pairs": true})",
       "kv_pairs: expected false (it belongs to diff_transformer), got true"},
      {"motif", R"({"subln_eps": 0.1})",
       "subln_eps: expected no such field (it belongs to diff_transformer), got 0.1"},
      {"motif", R"({"rope_interleaved": true})",
       "rope_interleaved: expected false (it belongs to diff_transformer and diff_transformer_v2)"},
      {"diff_transformer_v2", R"({"kv_pairs": true})", "kv_pairs: expected false (it belongs"},
      {"diff_transformer_v2", R"({"num_noise_heads": 4})",
       "num_noise_heads: expected no such field (it belongs to motif), got 4"},
      {"diff_transformer_v2", R"({"qkv_bias": true})", "qkv_bias: expected false (it belongs to"},
      {"diff_transformer", R"({"lambda_init": 1})",
       "lambda_init: expected a number from 0 to below 1, got 1"},
      {"diff_transformer", R"({"lambda_init": -0.5})", "lambda_init: expected a number from 0"},
      {"motif", R"({"lambda_init": 0.8})",
       "lambda_init: expected no such field (it belongs to diff_transformer), got 0.8"},
      {"diff_transformer", R"({"use_bias": true})",
       "use_bias: expected false (it belongs to motif), got true"},
      {"diff_transformer", R"({"attn_rms_norm_eps": 0.1})", "attn_rms_norm_eps: expected no such"},
  };
  for (const Refused& refused : cases) {
    const std::string expected = std::string("config.json: ").append(refused.expected);
    EXPECT_EQ(refusal(refused.type, refused.fields).substr(0, expected.size()), expected)
        << refused.fields;
  }
  // transformers' own types may have any field that it does not read.
  EXPECT_EQ(refusal("diffllama", R"({"use_bias": true, "lambda_init": 0.8})"), "accepted");
  EXPECT_EQ(refusal("llama", R"({"num_noise_heads": 4, "grouped_ratio": 7})"), "accepted");
}

std::vector<std::string> warnings_of(const std::string& type, const std::string& fields) {
  json document = small(type);
  document["architectures"] = {type == "motif" ? "MotifForCausalLM" : "DiffLlamaForCausalLM"};
  document["bos_token_id"] = document["eos_token_id"] = nullptr;
  document.update(json::parse(fields));
  std::vector<std::string> warnings;
  parse_model_config(document.dump(), "config.json",
                     [&](const std::string& text) { warnings.push_back(text); });
  return warnings;
}

// A switch whose meaning nobody wrote down here may change what its authors compute.
TEST(Members, NameTheFieldsThatTheyDoNotKnow) {
  EXPECT_EQ(warnings_of("motif", R"({"expanded": true, "mup_scale": 2, "attention_type": "x",
                                     "sandwich_norm": false, "multi_token_heads": null})"),
            std::vector<std::string>{"config.json: fields that are not known, which change nothing "
                                     "here: attention_type, expanded, mup_scale"});
  EXPECT_EQ(warnings_of("diffllama", R"({"expanded": true, "mup_scale": 2})"),
            std::vector<std::string>{});
}

// The fields that public releases carry beside those of a Llama.
TEST(Members, LoadReleasesWithoutAWord) {
  const char* const releases[] = {
      R"({"auto_map": {"AutoConfig": "configuration_motif.MotifConfig"}, "loss_reduction": "mean",
          "max_window_layers": 28, "sliding_window": null, "use_sliding_window": false,
          "use_bias": false, "attn_rms_norm_eps": 1e-05, "hidden_act": "poly_norm",
          "attention_dropout": 0.0, "initializer_range": 2e-05, "rope_scaling": null,
          "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
          "transformers_version": "4.46.3", "use_cache": true, "_attn_implementation_autoset": true,
          "use_moreh_attention": true, "fused_rope": true, "decontam_attn": false, "scale_emb": 1,
          "multi_token_heads": null, "num_noise_heads": null})",
      R"({"model_type": "Motif", "num_noise_heads": 2, "k_ratio": 1, "grouped_ratio": 3,
          "expanded": false, "fused_rope": false, "sliding_window": 4096, "qkv_bias": null,
          "attention_bias": null, "mlp_bias": null, "dtype": "bfloat16", "pretraining_tp": 1,
          "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}})",
  };
  for (const char* release : releases) {
    EXPECT_EQ(warnings_of("motif", release), std::vector<std::string>{}) << release;
  }
}

TEST(Members, ReadMotifByEitherName) {
  const ModelConfig config = parse("motif", R"({"model_type": "Motif", "num_noise_heads": 0})");
  EXPECT_EQ(config.model_type, ModelType::motif);
  EXPECT_FALSE(config.num_noise_heads);  // 0: none
  EXPECT_EQ(json::parse(write_model_config(config))["model_type"], "motif");
}

// Public files carry nulls that mean the default; transformers' own configs refuse most of them.
TEST(Members, TakeNullAsTheDefault) {
  const char* const shared[] = {
      "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps",
      "use_cache",  "tie_word_embeddings",     "attention_bias"};
  const std::pair<const char*, std::vector<const char*>> own[] = {
      {"motif",
       {"attn_rms_norm_eps", "num_noise_heads", "use_bias", "qkv_bias", "k_ratio", "mlp_bias",
        "grouped_ratio", "use_sliding_window", "partial_rotary_factor", "layer_types"}},
      {"diff_transformer",
       {"subln_eps", "kv_pairs", "lambda_init", "rope_interleaved", "mlp_bias"}},
      {"diff_transformer_v2", {"rope_interleaved", "mlp_bias", "kv_pairs"}},
      {"llama", {"qk_norm", "dex"}},
  };
  const auto null = [](const std::string& field) { return json{{field, nullptr}}.dump(); };
  const auto without_source = [](ModelConfig config) {
    config.source_json.clear();
    return write_model_config(config);
  };
  for (const auto& [type, fields] : own) {
    const std::string plain = without_source(parse(type));
    for (const char* field : fields) {
      SCOPED_TRACE(std::string(type) + " " + field);
      ASSERT_EQ(refusal(type, null(field)), "accepted");
      EXPECT_EQ(without_source(parse(type, null(field))), plain);
    }
    for (const char* field : shared) {
      SCOPED_TRACE(std::string(type) + " " + field);
      if (std::string(type) == "llama") {
        EXPECT_NE(refusal(type, null(field)), "accepted");
        EXPECT_NE(refusal("diffllama", null(field)), "accepted");
      } else {
        ASSERT_EQ(refusal(type, null(field)), "accepted");
        EXPECT_EQ(without_source(parse(type, null(field))), plain);
      }
    }
    EXPECT_NE(refusal(type, null("hidden_size")), "accepted");
  }
}

}  // namespace
}  // namespace diffllama
