#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <numeric>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/save.h"
#include "checkpoint/test_files.h"
#include "config/model_config.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const fs::path kTiny = fs::path(DIFFLLAMA_SOURCE_DIR) / "models/diffllama-tiny";

json small_config(const std::string& architecture = "DiffLlamaForCausalLM") {
  return {{"architectures", {architecture}},
          {"model_type", architecture.starts_with("Diff") ? "diffllama" : "llama"},
          {"vocab_size", 7},
          {"hidden_size", 8},
          {"intermediate_size", 5},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 2},
          {"id2label", {{"0", "A"}, {"1", "B"}, {"2", "C"}}}};
}

using Tensors = std::map<std::string, Tensor>;

// The value of element i of every tensor is i, so that rows are known.
Tensor counting(const Shape& shape, DType dtype = DType::float32) {
  Tensor tensor(dtype, shape);
  if (dtype == DType::float32) std::iota(tensor.f32().begin(), tensor.f32().end(), 0.0F);
  return tensor;
}

Tensors model_tensors(const json& config) {
  Tensors tensors;
  for (const TensorSpec& spec : tensor_specs(parse_model_config(config.dump(), "test"))) {
    tensors[spec.name] = counting(spec.shape);
  }
  return tensors;
}

void write_tensors(const fs::path& path, const Tensors& tensors) {
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) sources.push_back(copied_tensor(name, tensor.view()));
  write_safetensors(path, std::move(sources));
}

class Directory : public testing::Test {
 protected:
  Checkpoint open(const json& config, const Tensors& tensors) {
    directory_.write("config.json", config.dump());
    write_tensors(directory_.path() / "model.safetensors", tensors);
    return open();
  }
  Checkpoint open() {
    warnings_.clear();
    return Checkpoint::open(directory_.path(),
                            [this](const std::string& text) { warnings_.push_back(text); });
  }
  std::string refused(const json& config, const Tensors& tensors) {
    return refusal([&] { open(config, tensors); });
  }

  TestDirectory directory_;
  std::vector<std::string> warnings_;
};

TEST_F(Directory, OpensTheModelThatShips) {
  std::vector<std::string> warnings;
  const Checkpoint checkpoint =
      Checkpoint::open(kTiny, [&](const std::string& text) { warnings.push_back(text); });
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(checkpoint.config().hidden_size, 256);
  EXPECT_TRUE(checkpoint.config().tie_word_embeddings);
  EXPECT_EQ(checkpoint.find("lm_head.weight"), nullptr);
  for (const TensorSpec& spec : tensor_specs(checkpoint.config())) {
    const StoredTensor* tensor = checkpoint.find(spec.name);
    ASSERT_EQ(tensor != nullptr, spec.required) << spec.name;
    if (tensor != nullptr) {
      EXPECT_EQ(tensor->view.shape, spec.shape) << spec.name;
    }
  }
  // Released pages are read again.
  const StoredTensor* embeddings = checkpoint.find("model.embed_tokens.weight");
  ASSERT_EQ(embeddings->view.dtype, DType::bfloat16);
  std::vector<float> row(256);
  embeddings->read_row(5, row);
  Checkpoint::release(*embeddings);
  std::vector<float> again(256);
  embeddings->read_row(5, again);
  EXPECT_EQ(row, again);
}

TEST_F(Directory, NamesParametersAsTransformersDoes) {
  const auto names = [](const std::string& architecture, const json& more = json::object()) {
    json config = small_config(architecture);
    config.update(more);
    config["num_hidden_layers"] = 1;
    std::vector<std::string> list;
    for (const TensorSpec& spec : tensor_specs(parse_model_config(config.dump(), "test"))) {
      list.push_back(spec.name + to_string(spec.shape));
    }
    return list;
  };
  EXPECT_THAT(
      names("DiffLlamaForCausalLM"),
      ElementsAre(
          "model.embed_tokens.weight[7, 8]", "model.layers.0.self_attn.lambda_q1[2]",
          "model.layers.0.self_attn.lambda_k1[2]", "model.layers.0.self_attn.lambda_q2[2]",
          "model.layers.0.self_attn.lambda_k2[2]", "model.layers.0.self_attn.q_proj.weight[8, 8]",
          "model.layers.0.self_attn.k_proj.weight[4, 8]",
          "model.layers.0.self_attn.v_proj.weight[4, 8]",
          "model.layers.0.self_attn.o_proj.weight[8, 8]",
          "model.layers.0.mlp.gate_proj.weight[5, 8]", "model.layers.0.mlp.up_proj.weight[5, 8]",
          "model.layers.0.mlp.down_proj.weight[8, 5]", "model.layers.0.input_layernorm.weight[8]",
          "model.layers.0.post_attention_layernorm.weight[8]", "model.norm.weight[8]",
          "lm_head.weight[7, 8]"));
  EXPECT_EQ(names("DiffLlamaModel").front(), "embed_tokens.weight[7, 8]");
  EXPECT_EQ(names("DiffLlamaModel").back(), "norm.weight[8]");
  EXPECT_EQ(names("DiffLlamaForQuestionAnswering").front(),
            "transformer.embed_tokens.weight[7, 8]");
  EXPECT_THAT(names("DiffLlamaForQuestionAnswering"),
              testing::IsSupersetOf({"qa_outputs.weight[2, 8]", "qa_outputs.bias[2]"}));
  EXPECT_EQ(names("DiffLlamaForSequenceClassification").back(), "score.weight[3, 8]");
  EXPECT_EQ(names("DiffLlamaForTokenClassification").back(), "score.bias[3]");
  EXPECT_THAT(names("LlamaForCausalLM", {{"attention_bias", true}, {"mlp_bias", true}}),
              AllOf(testing::IsSupersetOf({"model.layers.0.self_attn.q_proj.bias[8]",
                                           "model.layers.0.self_attn.k_proj.bias[4]",
                                           "model.layers.0.self_attn.o_proj.bias[8]",
                                           "model.layers.0.mlp.gate_proj.bias[5]",
                                           "model.layers.0.mlp.down_proj.bias[8]"}),
                    Not(testing::Contains(HasSubstr("lambda")))));
  EXPECT_THAT(names("DiffLlamaForCausalLM", {{"mlp_bias", true}}),
              Not(testing::Contains(HasSubstr("mlp.gate_proj.bias"))));
}

TEST_F(Directory, OpensEveryArchitecture) {
  for (const std::string type : {"DiffLlama", "Llama"}) {
    for (const char* head : {"Model", "ForCausalLM", "ForSequenceClassification",
                             "ForQuestionAnswering", "ForTokenClassification"}) {
      const json config = small_config(type + head);
      const Checkpoint checkpoint = open(config, model_tensors(config));
      EXPECT_THAT(warnings_, IsEmpty());
      for (const TensorSpec& spec : tensor_specs(checkpoint.config())) {
        EXPECT_NE(checkpoint.find(spec.name), nullptr) << spec.name;
      }
    }
  }
}

TEST_F(Directory, ReadsRows) {
  const json config = small_config();
  const Checkpoint checkpoint = open(config, model_tensors(config));
  std::vector<float> row(8);
  checkpoint.find("lm_head.weight")->read_row(2, row);
  EXPECT_THAT(row, ElementsAre(16, 17, 18, 19, 20, 21, 22, 23));
  checkpoint.find("model.norm.weight")->read_row(0, row);
  EXPECT_THAT(row, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST_F(Directory, ListsAllMissingAndMisshapedTensors) {
  const json config = small_config();
  Tensors tensors = model_tensors(config);
  tensors.erase("model.norm.weight");
  tensors.erase("model.layers.1.self_attn.lambda_q2");
  tensors["lm_head.weight"] = counting({8, 7});
  tensors["model.layers.0.mlp.up_proj.weight"] = counting({5, 8, 1});
  tensors["model.layers.0.input_layernorm.weight"] = counting({8}, DType::float64);
  EXPECT_EQ(refused(config, tensors),
            directory_.path().string() +
                ": expected the config's tensors; missing: model.layers.1.self_attn.lambda_q2 [2], "
                "model.norm.weight [8]; mis-shaped: model.layers.0.mlp.up_proj.weight (expected "
                "[5, 8], got [5, 8, 1]), lm_head.weight (expected [7, 8], got [8, 7]); wrong type: "
                "model.layers.0.input_layernorm.weight (expected float32, float16 or bfloat16, got "
                "float64)");
}

TEST_F(Directory, RefusesMoreLayersThanCouldBeStored) {
  json config = small_config();
  const Tensors tensors = model_tensors(config);
  config["num_hidden_layers"] = 10'000;
  EXPECT_THAT(refused(config, tensors),
              HasSubstr("expected tensors for the config's 10000 layers, got"));
  config["num_hidden_layers"] = 3;
  EXPECT_THAT(refused(config, tensors), HasSubstr("missing: model.layers.2.self_attn.lambda_q1"));
}

TEST_F(Directory, WarnsOnceOfExtraTensors) {
  const json config = small_config();
  Tensors tensors = model_tensors(config);
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = counting({1});
  tensors["extra"] = counting({1}, DType::int64);
  open(config, tensors);
  EXPECT_THAT(warnings_, ElementsAre(directory_.path().string() +
                                     ": tensors that the model does not use: \"extra\", "
                                     "\"model.layers.0.self_attn.rotary_emb.inv_freq\""));
  for (int i = 0; i < 100; ++i) tensors["extra" + std::to_string(i)] = counting({1});
  open(config, tensors);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("... (102 in all)")));
}

TEST_F(Directory, AddsAndDropsTheHeadsPrefix) {
  const Tensors base = model_tensors(small_config("DiffLlamaModel"));
  const Tensors causal = model_tensors(small_config());

  // A headed checkpoint as the base model: the head is extra.
  const Checkpoint stripped = open(small_config("DiffLlamaModel"), causal);
  EXPECT_NE(stripped.find("layers.0.self_attn.lambda_k1"), nullptr);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("\"lm_head.weight\"")));

  // A base checkpoint as a tied causal model is complete, as any other head it lacks the head.
  json tied = small_config();
  tied["tie_word_embeddings"] = true;
  EXPECT_NE(open(tied, base).find("model.layers.0.self_attn.lambda_k1"), nullptr);
  EXPECT_THAT(refused(small_config(), base), HasSubstr("tensors; missing: lm_head.weight [7, 8]"));
  EXPECT_THAT(refused(small_config("DiffLlamaForTokenClassification"), causal),
              HasSubstr("tensors; missing: score.weight [3, 8], score.bias [3]"));
  // Question answering knows only its own prefix, as in transformers.
  EXPECT_THAT(refused(small_config("DiffLlamaForQuestionAnswering"), causal),
              HasSubstr("missing: transformer.embed_tokens.weight"));
}

TEST_F(Directory, TiedModels) {
  json config = small_config();
  config["tie_word_embeddings"] = true;
  Tensors tensors = model_tensors(config);

  EXPECT_EQ(open(config, tensors).find("lm_head.weight"), nullptr);  // an equal copy
  EXPECT_THAT(warnings_, IsEmpty());

  tensors["lm_head.weight"].f32()[0] = 9;
  const Checkpoint different = open(config, tensors);
  EXPECT_NE(different.find("lm_head.weight"), nullptr);
  EXPECT_FALSE(different.config().tie_word_embeddings);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("a different lm_head is stored")));

  tensors.erase("lm_head.weight");
  const Checkpoint absent = open(config, tensors);
  EXPECT_EQ(absent.find("lm_head.weight"), nullptr);
  EXPECT_TRUE(absent.config().tie_word_embeddings);
}

TEST_F(Directory, SaysWhatADirectoryLacks) {
  EXPECT_THAT(refusal([&] { open(); }), HasSubstr("config.json: cannot open: No such file"));
  directory_.write("config.json", small_config().dump());
  EXPECT_THAT(refusal([&] { open(); }),
              HasSubstr("expected model.safetensors or model.safetensors.index.json, got neither"));
  directory_.write("pytorch_model.bin", "x");
  EXPECT_THAT(refusal([&] { open(); }), HasSubstr("got pytorch_model.bin, which"));
  directory_.write("model.safetensors", "");
  EXPECT_THAT(refusal([&] { open(); }),
              HasSubstr("model.safetensors: expected a safetensors file"));
  directory_.write("config.json", "{");
  EXPECT_THAT(refusal([&] { open(); }), HasSubstr("config.json: expected JSON"));
  EXPECT_THAT(
      refusal([&] { Checkpoint::open(directory_.path() / "none"); }),
      HasSubstr("none: expected a Hugging Face directory or a .gguf file, got nothing there"));
}

TEST_F(Directory, SavesWhatItOpens) {
  const Checkpoint original = Checkpoint::open(kTiny);
  std::vector<TensorSource> sources;
  for (const TensorSpec& spec : tensor_specs(original.config())) {
    const StoredTensor* tensor = original.find(spec.name);
    if (tensor == nullptr) continue;
    sources.push_back(rounded_tensor(
        spec.name, tensor->view.dtype, spec.shape,
        [tensor](std::int64_t row, std::span<float> out) { tensor->read_row(row, out); }));
  }
  const fs::path copy = directory_.path() / "new" / "copy";
  save_model_directory(copy, original.config(), std::move(sources));
  EXPECT_TRUE(read_whole_file(copy / "model.safetensors") ==
              read_whole_file(kTiny / "model.safetensors"));
  const Checkpoint again = Checkpoint::open(copy);
  EXPECT_EQ(write_model_config(again.config()), write_model_config(original.config()));

  directory_.write("file", "");
  EXPECT_THAT(
      refusal([&] { save_model_directory(directory_.path() / "file", original.config(), {}); }),
      HasSubstr("file: cannot create"));
}

class Shards : public Directory {
 protected:
  Shards() {
    directory_.write("config.json", config_.dump());
    for (const auto& [name, tensor] : model_tensors(config_)) {
      const std::string file = parts_.size() % 2 == 0 ? "a.safetensors" : "b.safetensors";
      parts_[name] = file;
      shards_[file][name] = tensor;
    }
  }
  std::string refused_shards() {
    for (const auto& [file, tensors] : shards_) write_tensors(directory_.path() / file, tensors);
    write_index({{"metadata", {{"total_size", 1}}}, {"weight_map", parts_}});
    return refusal([&] { open(); });
  }
  void write_index(const json& index) {
    directory_.write("model.safetensors.index.json", index.dump());
  }

  json config_ = small_config();
  std::map<std::string, Tensors> shards_;
  std::map<std::string, std::string> parts_;  // tensor -> file
};

TEST_F(Shards, Open) { EXPECT_EQ(refused_shards(), "accepted"); }

TEST_F(Shards, RefuseAMissingShard) {
  parts_["lm_head.weight"] = "c.safetensors";
  parts_["model.norm.weight"] = "d.safetensors";
  EXPECT_THAT(refused_shards(),
              HasSubstr("model.safetensors.index.json: expected the shards that it names, missing: "
                        "c.safetensors, d.safetensors"));
}

TEST_F(Shards, RefusePathsOutOfTheDirectory) {
  for (const char* name :
       {"../a.safetensors", "..", "", "/etc/passwd", "x/../../y", "sub/a", "."}) {
    parts_["lm_head.weight"] = name;
    EXPECT_THAT(refused_shards(),
                AllOf(HasSubstr("weight_map: \"lm_head.weight\""),
                      HasSubstr("expected the name of a file in the same directory, got \"" +
                                std::string(name))))
        << name;
  }
  parts_["lm_head.weight"] = std::string("a\0b", 3);
  EXPECT_THAT(refused_shards(), HasSubstr("the name of a file in the same directory"));
}

TEST_F(Shards, RefuseATensorInTwoShards) {
  shards_["a.safetensors"]["twice"] = counting({1});
  shards_["b.safetensors"]["twice"] = counting({1});
  EXPECT_THAT(
      refused_shards(),
      AllOf(HasSubstr("b.safetensors: expected each tensor in one shard, got \"twice\" also "
                      "in"),
            HasSubstr("a.safetensors: tensor twice")));
}

TEST_F(Shards, RefuseATensorThatIsNotInItsShard) {
  const std::string name = "model.norm.weight";
  parts_[name] = parts_[name] == "a.safetensors" ? "b.safetensors" : "a.safetensors";
  EXPECT_THAT(refused_shards(), HasSubstr("expected the tensor \"model.norm.weight\", which"));
}

TEST_F(Shards, MayBeNamedForTensorsThatNothingNeeds) {
  parts_["model.layers.0.self_attn.rotary_emb.inv_freq"] = "a.safetensors";
  EXPECT_EQ(refused_shards(), "accepted");
  for (auto& [file, tensors] : shards_) tensors.erase("model.norm.weight");
  EXPECT_THAT(refused_shards(), HasSubstr("missing: model.norm.weight [8]"));
}

TEST_F(Directory, TakesATiedMatrixStoredUnderTheHeadsName) {
  for (const char* architecture : {"DiffLlamaForCausalLM", "LlamaForCausalLM"}) {
    json config = small_config(architecture);
    Tensors tensors = model_tensors(config);
    tensors.erase("model.embed_tokens.weight");
    EXPECT_THAT(refused(config, tensors), HasSubstr("missing: model.embed_tokens.weight [7, 8]"));
    config["tie_word_embeddings"] = true;
    const Checkpoint checkpoint = open(config, tensors);
    EXPECT_THAT(warnings_, IsEmpty());
    EXPECT_TRUE(checkpoint.config().tie_word_embeddings);
    EXPECT_EQ(checkpoint.find("lm_head.weight"), nullptr);
    std::vector<float> row(8);
    checkpoint.find("model.embed_tokens.weight")->read_row(3, row);
    EXPECT_EQ(row.front(), 24);
    tensors.erase("lm_head.weight");
    EXPECT_THAT(refused(config, tensors), HasSubstr("missing: model.embed_tokens.weight [7, 8]"));
  }
}

// Puts a tensor of any dtype behind those of a safetensors file.
void append_tensor(const fs::path& path, const std::string& name, const json& entry,
                   const std::string& data) {
  std::string file = read_whole_file(path);
  std::uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof size);
  json header = json::parse(file.substr(8, size));
  const std::string body = file.substr(8 + size);
  header[name] = entry;
  header[name]["data_offsets"] = {body.size(), body.size() + data.size()};
  const std::string text = header.dump();
  std::ofstream(path, std::ios::binary) << raw<std::uint64_t>(text.size()) << text << body << data;
}

TEST_F(Directory, TakesUnusedTensorsOfEveryDtype) {
  const json config = small_config();
  const Tensors tensors = model_tensors(config);
  open(config, tensors);
  const fs::path path = directory_.path() / "model.safetensors";
  append_tensor(path, "scale", {{"dtype", "F8_E4M3"}, {"shape", json::array()}}, "x");
  append_tensor(path, "count", {{"dtype", "U64"}, {"shape", {1}}}, std::string(8, 'x'));
  open();
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr(R"(does not use: "count", "scale")")));

  Tensors without = tensors;
  without.erase("model.norm.weight");
  open(config, tensors);
  write_tensors(path, without);
  append_tensor(path, "model.norm.weight", {{"dtype", "F8_E5M2"}, {"shape", {8}}}, "12345678");
  EXPECT_THAT(refusal([&] { open(); }),
              HasSubstr("wrong type: model.norm.weight (expected float32, float16 or bfloat16, got "
                        "F8_E5M2)"));
}

TEST_F(Directory, NamesAGitLfsPointer) {
  open(small_config(), model_tensors(small_config()));
  directory_.write("model.safetensors",
                   "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n");
  EXPECT_THAT(refusal([&] { open(); }),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("Git LFS pointer")));
}

TEST_F(Shards, RefuseAnIndexOfAnotherShape) {
  refused_shards();
  const auto refused_index = [&](const json& index) {
    write_index(index);
    return refusal([&] { open(); });
  };
  EXPECT_THAT(refused_index(json::object()), HasSubstr("expected an object weight_map"));
  EXPECT_THAT(refused_index(json::array()), HasSubstr("expected an object weight_map"));
  EXPECT_THAT(refused_index({{"weight_map", {"a"}}}), HasSubstr("got [\"a\"]"));
  EXPECT_THAT(refused_index({{"weight_map", {{"x", 1}}}}),
              HasSubstr("weight_map: \"x\": expected the name of a file, got 1"));
  directory_.write("model.safetensors.index.json", R"({"weight_map":{"a":"x","a":"y"}})");
  EXPECT_THAT(refusal([&] { open(); }), HasSubstr("the key \"a\" twice"));
}

}  // namespace
}  // namespace diffllama
