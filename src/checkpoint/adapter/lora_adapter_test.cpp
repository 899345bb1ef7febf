#include "checkpoint/adapter/lora_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/save.h"
#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

using Tensors = std::map<std::string, Tensor>;

ModelConfig small_model(Architecture architecture = Architecture::causal_lm) {
  ModelConfig model;
  model.architecture = architecture;
  model.vocab_size = 11;
  model.hidden_size = 8;
  model.intermediate_size = 6;
  model.num_hidden_layers = 1;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.head_dim = 2;
  return model;
}

// Element i of every tensor is scale * (i + 1).
Tensor counting(const Shape& shape, float scale) {
  Tensor tensor(DType::float32, shape);
  std::iota(tensor.f32().begin(), tensor.f32().end(), 1.0F);
  for (float& value : tensor.f32()) value *= scale;
  return tensor;
}

void write_tensors(const fs::path& path, const Tensors& tensors) {
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) sources.push_back(copied_tensor(name, tensor.view()));
  write_safetensors(path, std::move(sources));
}

class Adapter : public testing::Test {
 protected:
  Adapter() {
    config_ = {{"peft_type", "LORA"},   {"r", 2},
               {"lora_alpha", 6},       {"target_modules", {"q_proj"}},
               {"modules_to_save", {}}, {"task_type", "CAUSAL_LM"}};
    tensors_[kA] = counting({2, 8}, 0.25F);
    tensors_[kB] = counting({8, 2}, 0.5F);
  }
  void write() {
    directory_.write("adapter_config.json", config_.dump());
    write_tensors(directory_.path() / "adapter_model.safetensors", tensors_);
  }
  std::shared_ptr<const LoraAdapter> open(const ModelConfig& model = small_model()) {
    write();
    return LoraAdapter::open(directory_.path(), model);
  }
  std::string refused(const ModelConfig& model = small_model()) {
    return refusal([&] { open(model); });
  }

  const std::string kModule = "model.layers.0.self_attn.q_proj";
  const std::string kPeftModule = "base_model.model.model.layers.0.self_attn.q_proj";
  const std::string kA = kPeftModule + ".lora_A.weight";
  const std::string kB = kPeftModule + ".lora_B.weight";
  TestDirectory directory_;
  json config_;
  Tensors tensors_;
};

TEST_F(Adapter, GivesTheMatricesOfAModule) {
  const auto adapter = open();
  ASSERT_EQ(adapter->modules().size(), 1U);
  const LoraMatrices& lora = adapter->modules().at(kModule);
  EXPECT_EQ(lora.out, 8);
  EXPECT_EQ(lora.in, 8);
  EXPECT_EQ(lora.rank, 2);
  EXPECT_EQ(lora.scaling, 3.0F);
  EXPECT_EQ(lora.a[9], 2.5F);
  EXPECT_EQ(lora.b[15], 8.0F);
  EXPECT_TRUE(adapter->saved().empty());
  // Row 1 of B is [1.5, 2]; column j of A is [0.25 (j + 1), 0.25 (j + 9)]. All of it is exact.
  std::vector<float> row(8, 100.0F);
  lora.add_row(1, row);
  for (int j = 0; j < 8; ++j) {
    const float product =
        1.5F * 0.25F * static_cast<float>(j + 1) + 2.0F * 0.25F * static_cast<float>(j + 9);
    EXPECT_EQ(row[static_cast<std::size_t>(j)], 100.0F + 3.0F * product);
  }
}

TEST_F(Adapter, EveryTypeOfWeightIsRead) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    Tensor narrow(dtype, {2, 8});
    // 1.0 in either type
    const std::uint16_t one = dtype == DType::float16 ? 0x3C00 : 0x3F80;
    for (std::size_t i = 0; i < 16; ++i) {
      std::memcpy(narrow.bytes().data() + 2 * i, &one, sizeof one);
    }
    tensors_[kA] = std::move(narrow);
    EXPECT_EQ(open()->modules().at(kModule).a[7], 1.0F);
  }
}

TEST_F(Adapter, AllThatIsWrongIsNamedAtOnce) {
  config_["target_modules"] = {"q_proj", "v_proj", "o_proj"};
  config_["modules_to_save"] = {"lm_head"};
  const std::string o = "base_model.model.model.layers.0.self_attn.o_proj";
  tensors_[kB] = counting({8, 3}, 1);
  tensors_["base_model.model.lm_head.weight"] = counting({8, 11}, 1);
  tensors_[o + ".lora_A.weight"] = Tensor(DType::int64, {2, 8});
  tensors_["base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"] = counting({2, 8}, 1);
  EXPECT_EQ(
      refused(),
      (directory_.path() / "adapter_model.safetensors").string() +
          ": expected the tensors that adapter_config.json promises; missing: "
          "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight [2, 8], "
          "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight [4, 2], " +
          o + ".lora_B.weight [8, 2]; mis-shaped: " + kB +
          " (expected [8, 2], got [8, 3]), base_model.model.lm_head.weight (expected [11, 8], got "
          "[8, 11]); wrong type: " +
          o +
          ".lora_A.weight (expected float32, float16 or bfloat16, got int64); unexpected: "
          "\"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight\"");
}

TEST_F(Adapter, HostileFilesAreRefused) {
  const auto changed = [&](const std::function<void()>& change) {
    const json config = config_;
    const Tensors tensors = tensors_;
    change();
    std::string message = refused();
    config_ = config;
    tensors_ = tensors;
    return message;
  };
  EXPECT_THAT(changed([&] { tensors_.erase(kA); }), HasSubstr("missing: " + kA + " [2, 8]"));
  EXPECT_THAT(changed([&] { tensors_[kA] = counting({16}, 1); }), HasSubstr("got [16])"));
  EXPECT_THAT(changed([&] { tensors_[kA] = counting({0, 8}, 1); }), HasSubstr("got [0, 8])"));
  EXPECT_THAT(changed([&] { tensors_[kB] = counting({2, 8}, 1); }), HasSubstr("got [2, 8])"));
  EXPECT_THAT(changed([&] { config_["r"] = 1 << 20; }), HasSubstr("expected [1048576, 8]"));
  EXPECT_THAT(changed([&] { config_["r"] = 0; }), HasSubstr("adapter_config.json: r: expected"));
  // Names of other methods, of embeddings, of LoRA inside LoRA, and without PEFT's prefix.
  for (const char* name : {"lora_magnitude_vector.weight", "lora_embedding_A", "lora_B.bias",
                           "lora_A.lora_A.weight"}) {
    const std::string full = kPeftModule + "." + name;
    EXPECT_THAT(changed([&] { tensors_[full] = counting({8}, 1); }),
                HasSubstr("unexpected: \"" + full + "\""));
  }
  EXPECT_THAT(changed([&] { tensors_["lora_A"] = counting({8}, 1); }),
              HasSubstr("unexpected: \"lora_A\""));
  EXPECT_THAT(changed([&] {
                for (int i = 0; i < 50; ++i) tensors_[std::to_string(i) + "x"] = counting({1}, 1);
              }),
              AllOf(HasSubstr("\"0x\""), HasSubstr("... (50 in all)"), Not(HasSubstr("\"9x\""))));
  EXPECT_EQ(changed([] {}), "accepted");
}

TEST_F(Adapter, FilesThatAreNotThereAreNamed) {
  const std::string where = directory_.path().string();
  const auto opened = [&](const fs::path& path) {
    return refusal([&] { LoraAdapter::open(path, small_model()); });
  };
  EXPECT_EQ(
      opened(directory_.path()),
      where + ": expected a PEFT adapter, a directory with adapter_config.json, got none in it");
  EXPECT_THAT(opened(directory_.path() / "none"), HasSubstr("got nothing there"));
  const fs::path config = directory_.write("adapter_config.json", config_.dump());
  EXPECT_THAT(opened(config), HasSubstr("expected a PEFT adapter"));
  EXPECT_EQ(opened(directory_.path()), where + ": expected adapter_model.safetensors, got none");
  directory_.write("adapter_model.bin", "");
  EXPECT_THAT(opened(directory_.path()), HasSubstr("got adapter_model.bin, which PEFT's"));
  directory_.write("adapter_model.safetensors", "short");
  EXPECT_THAT(opened(directory_.path()), HasSubstr("adapter_model.safetensors: expected a safe"));
}

TEST_F(Adapter, WhatIsSavedOpensTheSame) {
  const ModelConfig model = small_model(Architecture::sequence_classification);
  LoraConfig config;
  config.rank = 3;
  config.alpha = 4;
  config.target_modules = {"q_proj", "down_proj"};
  config = with_trained_head(config, model.architecture);
  Tensors tensors;
  for (const TensorSpec& spec : lora_layout(config, model).tensors()) {
    tensors[spec.name] = counting(spec.shape, static_cast<float>(tensors.size() + 1));
  }
  const auto sources = [&] {
    std::vector<TensorSource> list;
    for (const auto& [name, tensor] : tensors) list.push_back(copied_tensor(name, tensor.view()));
    return list;
  };
  const fs::path out = directory_.path() / "out/adapter";
  save_lora_adapter(out, config, model, sources());
  const SafetensorsFile file(out / "adapter_model.safetensors");
  std::vector<std::string> names;
  for (const auto& [name, view] : file.tensors()) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("base_model.model.model.layers.0.mlp.down_proj.lora_A.weight",
                                 "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight", kA,
                                 kB, "base_model.model.score.weight"));
  const auto adapter = LoraAdapter::open(out, model);
  EXPECT_EQ(adapter->config().rank, 3);
  for (const LoraTarget& target : adapter->layout().targets) {
    const LoraMatrices& lora = adapter->modules().at(target.module);
    EXPECT_TRUE(std::ranges::equal(lora.a, tensors.at(target.a_name()).f32()));
    EXPECT_TRUE(std::ranges::equal(lora.b, tensors.at(target.b_name()).f32()));
  }
  std::vector<float> row(8);
  adapter->saved().at("score.weight").read_row(1, row);
  EXPECT_TRUE(std::ranges::equal(row, tensors.at("score.weight").f32().subspan(8, 8)));

  const auto unsaved = [&](const std::function<void()>& change, const LoraConfig& other) {
    const Tensors before = tensors;
    change();
    std::string message =
        refusal([&] { save_lora_adapter(directory_.path() / "no", other, model, sources()); });
    tensors = before;
    return message;
  };
  EXPECT_THAT(unsaved([&] { tensors.erase("score.weight"); }, config),
              HasSubstr("[save_lora_adapter] expected a tensor score.weight, got none"));
  EXPECT_THAT(unsaved([&] { tensors["x"] = counting({1}, 1); }, config), HasSubstr("got x"));
  EXPECT_THAT(unsaved(
                  [&] {
                    tensors["score.weight"] = counting({8, 2}, 1);
                  },
                  config),
              HasSubstr("expected score.weight as [2, 8], got [8, 2]"));
  LoraConfig headless = config;
  headless.modules_to_save.clear();
  EXPECT_THAT(unsaved([] {}, headless), HasSubstr("with_trained_head"));
  EXPECT_FALSE(fs::exists(directory_.path() / "no"));
}

class Merge : public Adapter {
 protected:
  // A model whose elements count, tied or not.
  Checkpoint checkpoint(const ModelConfig& model) {
    Tensors tensors;
    std::vector<TensorSource> sources;
    for (const TensorSpec& spec : tensor_specs(model)) {
      if (spec.required) tensors[spec.name] = counting(spec.shape, 1);
    }
    for (const auto& [name, tensor] : tensors) {
      sources.push_back(copied_tensor(name, tensor.view()));
    }
    save_model_directory(directory_.path() / "model", model, std::move(sources));
    return Checkpoint::open(directory_.path() / "model");
  }
  static std::vector<float> row(const Checkpoint& checkpoint, const std::string& name) {
    const StoredTensor* stored = checkpoint.find(name);
    if (stored == nullptr) return {};
    std::vector<float> values(static_cast<std::size_t>(stored->view.shape.back()));
    stored->read_row(0, values);
    return values;
  }
  Checkpoint merged(const ModelConfig& model) {
    Checkpoint opened = checkpoint(model);
    opened.merge(open(model));
    return opened;
  }
};

TEST_F(Merge, AddsToTheTargetsAlone) {
  const Checkpoint opened = merged(small_model());
  std::vector<float> want(8);
  std::iota(want.begin(), want.end(), 1.0F);
  EXPECT_EQ(row(opened, "model.layers.0.self_attn.o_proj.weight"), want);
  open()->modules().at(kModule).add_row(0, want);
  EXPECT_EQ(row(opened, kModule + ".weight"), want);
}

TEST_F(Merge, ATiedHeadIsUntiedWhereTheAdapterChangesIt) {
  ModelConfig model = small_model();
  model.tie_word_embeddings = true;
  std::vector<float> embeddings(8);
  std::iota(embeddings.begin(), embeddings.end(), 1.0F);
  const std::string name = "model.embed_tokens.weight";

  EXPECT_TRUE(merged(model).config().tie_word_embeddings);
  EXPECT_EQ(merged(model).find("lm_head.weight"), nullptr);

  // A target.
  config_["target_modules"] = {"lm_head"};
  tensors_ = {{"base_model.model.lm_head.lora_A.weight", counting({2, 8}, 1)},
              {"base_model.model.lm_head.lora_B.weight", counting({11, 2}, 1)}};
  std::vector<float> changed = embeddings;
  open(model)->modules().at("lm_head").add_row(0, changed);
  const Checkpoint head = merged(model);
  EXPECT_FALSE(head.config().tie_word_embeddings);
  EXPECT_EQ(row(head, name), embeddings);
  EXPECT_EQ(row(head, "lm_head.weight"), changed);

  // PEFT stores its weight beside it.
  tensors_["base_model.model.lm_head.base_layer.weight"] = counting({11, 8}, 1);
  EXPECT_EQ(row(merged(model), "lm_head.weight"), changed);

  // Embeddings that are trained whole leave the head what it was.
  config_["target_modules"] = {"q_proj"};
  config_["modules_to_save"] = {"embed_tokens"};
  tensors_ = {{kA, counting({2, 8}, 1)},
              {kB, counting({8, 2}, 1)},
              {"base_model.model.model.embed_tokens.weight", counting({11, 8}, 2)}};
  const Checkpoint copied = merged(model);
  EXPECT_FALSE(copied.config().tie_word_embeddings);
  EXPECT_EQ(row(copied, name)[0], 2.0F);
  EXPECT_EQ(row(copied, "lm_head.weight"), embeddings);

  // Embeddings that are merely stored beside the adapter stay tied.
  config_["modules_to_save"] = json::array();
  tensors_["base_model.model.lm_head.weight"] = counting({11, 8}, 2);
  const Checkpoint stored = merged(model);
  EXPECT_TRUE(stored.config().tie_word_embeddings);
  EXPECT_EQ(row(stored, name)[0], 2.0F);
}

}  // namespace
}  // namespace diffllama
