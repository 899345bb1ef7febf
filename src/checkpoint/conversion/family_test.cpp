// What convert_family makes of weights at the edge of their type. tests/parity/variants_test.cpp
// has what the new models compute.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/tensor_source.h"
#include "checkpoint/test_files.h"
#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kSource = DIFFLLAMA_SOURCE_DIR;
const fs::path kForward = kSource / "tests/golden/forward";
constexpr const char* kOutput = "model.layers.1.self_attn.o_proj.weight";
constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

// First values of tensors.
using Values = std::map<std::string, float>;

class FamilyRange : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return directory_.path() / name; }
  bool left(const std::string& name) const { return fs::exists(path(name)); }

  // A golden's model in another type, with these values.
  fs::path model(const std::string& golden, DType dtype, const Values& first) const {
    fs::path made = path(golden + "_of_" + std::string(dtype_name(dtype)));
    fs::create_directories(made);
    fs::copy_file(kForward / golden / "config.json", made / "config.json",
                  fs::copy_options::overwrite_existing);
    const Checkpoint old = Checkpoint::open(kForward / golden, [](const std::string&) {});
    std::vector<TensorSource> tensors;
    for (const TensorSpec& spec : tensor_specs(old.config())) {
      const StoredTensor* stored = old.find(spec.name);
      if (stored == nullptr) continue;
      const auto value = first.find(spec.name);
      tensors.push_back(rounded_tensor(spec.name, dtype, spec.shape,
                                       [=, &first](std::int64_t row, std::span<float> out) {
                                         stored->read_row(row, out);
                                         if (value != first.end() && row == 0)
                                           out[0] = value->second;
                                       }));
    }
    write_safetensors(made / "model.safetensors", std::move(tensors));
    return made;
  }
  void make(const fs::path& in, const std::string& out, const FamilyOptions& family) {
    warnings_.clear();
    convert_family(
        in, path(out), family,
        {.warn = [this](const std::string& text) { warnings_.push_back(text); }, .progress = {}});
  }
  static std::vector<float> first_row(const fs::path& model, const char* tensor) {
    const Checkpoint made = Checkpoint::open(model, [](const std::string&) {});
    std::vector<float> row(static_cast<std::size_t>(made.find(tensor)->view.shape.back()));
    made.find(tensor)->read_row(0, row);
    return row;
  }

  TestDirectory directory_;
  std::vector<std::string> warnings_;
};

const FamilyOptions kV2{.to = FamilyTarget::diff_transformer_v2};

TEST_F(FamilyRange, WhatDoublingMakesTooLargeIsWrittenWider) {
  const fs::path half = model("llama_causal", DType::float16, {{kOutput, -40000.0F}});
  make(half, "v2", kV2);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr(std::string("tensor ") + kOutput +
                                               ": 80000.0 in row 0 does not fit float16, so it is "
                                               "written as float32")));
  const Checkpoint made = Checkpoint::open(path("v2"), [](const std::string&) {});
  EXPECT_EQ(made.find(kOutput)->view.dtype, DType::float32);
  EXPECT_EQ(made.find(kQuery)->view.dtype, DType::float16);
  EXPECT_EQ(made.config().dtype, DType::float32);  // or transformers would make it infinite
  EXPECT_EQ(first_row(path("v2"), kOutput)[0], -80000.0F);
  EXPECT_EQ(first_row(path("v2"), kOutput)[1], 2 * first_row(half, kOutput)[1]);
}

TEST_F(FamilyRange, WhatFitsKeepsItsType) {
  make(model("llama_causal", DType::float16, {{kOutput, 32752.0F}}), "v2", kV2);
  EXPECT_THAT(warnings_, IsEmpty());
  EXPECT_EQ(Checkpoint::open(path("v2")).find(kOutput)->view.dtype, DType::float16);
  EXPECT_EQ(first_row(path("v2"), kOutput)[0], 65504.0F);  // float16's largest
}

TEST_F(FamilyRange, WhatFitsNoTypeIsRefused) {
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    const fs::path large = model("llama_causal", dtype, {{kOutput, 3e38F}});
    EXPECT_THAT(
        refusal([&] { make(large, "v2", kV2); }),
        testing::AllOf(HasSubstr(kOutput), HasSubstr("expected weights that fit float32, got 6"),
                       HasSubstr("in row 0")));
    EXPECT_FALSE(left("v2"));
  }
  const fs::path v1 = model("v1_pairs", DType::float32,
                            {{"model.layers.0.self_attn.o_proj.weight", 3e38F},
                             {"model.layers.0.self_attn.subln.weight", 2.0F}});
  EXPECT_THAT(refusal([&] { make(v1, "diffllama", {.to = FamilyTarget::diffllama}); }),
              HasSubstr("layers.0.self_attn.o_proj.weight: expected weights that fit float32"));
  EXPECT_FALSE(left("diffllama"));
}

// Noise on what is float16's largest already: of 32 rows of 32 some leave it.
TEST_F(FamilyRange, NoiseThatLeavesTheTypeIsRefused) {
  const fs::path half = model("llama_causal", DType::float16, {{kQuery, 65504.0F}});
  std::string found = "accepted";
  for (std::uint64_t seed = 0; seed < 20 && found == "accepted"; ++seed) {
    const std::string out = "noisy" + std::to_string(seed);
    found = refusal([&] {
      make(half, out,
           {.to = FamilyTarget::diffllama,
            .heads = PairedHeads::mirror,
            .noise = 1e5,
            .seed = seed});
    });
    EXPECT_EQ(left(out), found == "accepted");
  }
  EXPECT_THAT(found, HasSubstr("q_proj.weight: expected weights that fit float16"));
}

// Q8_0 holds a million, float16 does not.
TEST_F(FamilyRange, ExpandedBlocksMustFit) {
  const fs::path large = model("llama_causal", DType::float32, {{kQuery, 1e6F}});
  quantize_model(large, path("large.gguf"), "Q8_0",
                 {.warn = [](const std::string&) {}, .progress = {}});
  const auto to_directory = [&](DType expanded) {
    return refusal([&] {
      convert_model(path("large.gguf"), path("expanded"),
                    {.expanded = expanded, .warn = [](const std::string&) {}, .progress = {}});
    });
  };
  EXPECT_THAT(to_directory(DType::float16),
              HasSubstr("attn_q.weight: expected weights that fit float16, got "));
  EXPECT_FALSE(left("expanded"));
  EXPECT_EQ(to_directory(DType::float32), "accepted");
}

TEST_F(FamilyRange, MergedAdaptersMustFit) {
  const fs::path golden = kSource / "tests/golden/adapters/causal_q_v";
  const fs::path half = model("diffllama_causal", DType::float16, {});
  fs::create_directories(path("adapter"));
  std::string config = read_whole_file(golden / "adapter_config.json");
  const std::string alpha = "\"lora_alpha\": ";
  config.insert(config.find(alpha) + alpha.size(), "10000000");
  directory_.write("adapter/adapter_config.json", config);
  fs::copy_file(golden / "adapter_model.safetensors", path("adapter/adapter_model.safetensors"));
  for (const char* out : {"merged", "merged.gguf"}) {
    EXPECT_THAT(
        refusal([&] {
          convert_model(
              half, path(out),
              {.adapter = path("adapter"), .warn = [](const std::string&) {}, .progress = {}});
        }),
        HasSubstr("_proj.weight: expected weights that fit float16, got "));
    EXPECT_FALSE(left(out));
  }
}

// The proof is given before the name: what it throws leaves nothing, and what it sees is whole.
TEST_F(FamilyRange, AFailedProofLeavesNothing) {
  const fs::path golden = kForward / "llama_causal";
  FamilyOptions family = kV2;
  bool seen = false;
  family.prove = [&](const fs::path& finished) {
    seen = Checkpoint::open(finished).find(kOutput) != nullptr && !left("v2");
    throw std::runtime_error("not proved");
  };
  EXPECT_THROW(make(golden, "v2", family), std::runtime_error);
  EXPECT_TRUE(seen);
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

}  // namespace
}  // namespace diffllama
