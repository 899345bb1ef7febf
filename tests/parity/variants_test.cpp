// The members of the family that transformers does not define, beyond their goldens: through GGUF
// and quantised, and from one to another.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "parity/golden_files.h"

namespace diffllama::parity {
namespace {

namespace fs = std::filesystem;

void no_warning(const std::string& /*text*/) {}

class Variants : public testing::Test {
 public:
  ~Variants() override { fs::remove_all(directory_); }

 protected:
  Variants()
      : directory_(fs::temp_directory_path() /
                   ("diffllama_variants_" + std::to_string(getpid()) + "_" +
                    testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directory(directory_);
  }
  fs::path path(const std::string& name) const { return directory_ / name; }

  static Tensor logits(const fs::path& model, const ForwardInputs& inputs) {
    LoadOptions options;
    options.compute = ComputeType::float32;
    options.threads = 1;
    options.warn = no_warning;
    return *Model::from_pretrained(model, options).forward(inputs).logits;
  }
  static ConvertOptions convert_options() {
    ConvertOptions options;
    options.warn = no_warning;
    return options;
  }
  void make(const std::string& in, const std::string& out, const FamilyOptions& family) const {
    convert_family(golden_directory(in), path(out), family, convert_options());
  }
  static fs::path golden_directory(const std::string& model) {
    return source_dir() / "tests/golden/forward" / model;
  }
  std::string refusal(const fs::path& in, const FamilyOptions& family) const {
    try {
      convert_family(in, path("refused"), family, convert_options());
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

 private:
  fs::path directory_;
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.bytes().data(), b.bytes().data(), a.bytes().size()) == 0;
}

/// max |a - b| / max |b|
double difference(const Tensor& a, const Tensor& b) {
  double largest = 0;
  double size = 0;
  for (std::size_t i = 0; i < b.f32().size(); ++i) {
    size = std::max(size, std::abs(double{b.f32()[i]}));
    const double off = std::abs(double{a.f32()[i]} - double{b.f32()[i]});
    if (!(off <= largest)) largest = off;
  }
  return largest / size;
}

Model load_as(const fs::path& model, ComputeType compute, CacheType cache) {
  LoadOptions options;
  options.compute = compute;
  options.cache_type = cache;
  options.threads = 1;
  options.warn = no_warning;
  return Model::from_pretrained(model, options);
}

ForwardInputs ids_of(std::span<const std::int64_t> ids) {
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(ids, {1, std::ssize(ids)});
  return inputs;
}

constexpr const char* kMembers[] = {"v1_causal",     "v1_odd_group", "v2_causal",     "motif_pairs",
                                    "motif_grouped", "motif_bias",   "llama_qk_norm", "llama_dex"};

TEST_F(Variants, GoThroughGgufBitForBit) {
  for (const std::string member : kMembers) {
    SCOPED_TRACE(member);
    const fs::path in = golden_directory(member);
    const fs::path file = path(member + ".gguf");
    const fs::path back = path(member);
    convert_model(in, file, convert_options());
    convert_model(file, back, convert_options());
    for (const char* name : {"config.json", "model.safetensors"}) {
      EXPECT_EQ(bytes_of(back / name), bytes_of(in / name)) << name;
    }
    const Golden golden = load_golden(member + "/plain");
    EXPECT_TRUE(same_bits(logits(file, golden.inputs), logits(in, golden.inputs)));
  }
}

TEST_F(Variants, AreQuantised) {
  for (const std::string member : kMembers) {
    SCOPED_TRACE(member);
    const fs::path file = path(member + ".gguf");
    QuantizeOptions options;
    options.warn = no_warning;
    quantize_model(golden_directory(member), file, "Q8_0", options);
    const Golden golden = load_golden(member + "/plain");
    const Tensor exact = logits(golden_directory(member), golden.inputs);
    // The models are narrower than a block, so that most matrices fall back to 16 bits.
    EXPECT_LT(difference(logits(file, golden.inputs), exact), 0.05);
  }
}

// The ids that tools/make_variant_ids_goldens.py got from the references, with a cache here.
TEST_F(Variants, GenerateTheReferencesIds) {
  std::ifstream file(source_dir() / "tests/golden/variant_ids.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  EXPECT_EQ(golden.size(), 11U);
  for (const auto& [member, prompts] : golden.items()) {
    SCOPED_TRACE(member);
    const Model model = load_as(golden_directory(member), ComputeType::float32, CacheType::f32);
    ASSERT_EQ(prompts.size(), 3U);
    for (const nlohmann::json& one : prompts) {
      const auto want = one["ids"].get<std::vector<std::int64_t>>();
      const auto prompt = one["prompt"].get<std::vector<std::int64_t>>();
      KVCache cache = model.make_cache(1);
      std::vector<std::int64_t> got;
      std::vector<std::int64_t> next = prompt;
      while (got.size() < want.size()) {
        const Tensor logits = *model.forward(ids_of(next), &cache).logits;
        const auto last = logits.f32().last(static_cast<std::size_t>(logits.shape()[2]));
        next = {std::ranges::max_element(last) - last.begin()};
        got.push_back(next[0]);
      }
      EXPECT_EQ(got, want);
    }
  }
}

// Caches of 8 bits and bfloat16 products: near float32, and the same bits however a prompt is cut.
TEST_F(Variants, ComputeInBfloat16AndCacheInEightBits) {
  const struct {
    ComputeType compute;
    CacheType cache;
  } kinds[] = {{ComputeType::float32, CacheType::q8_0},
               {ComputeType::bfloat16, CacheType::bf16},
               {ComputeType::bfloat16, CacheType::q8_0}};
  std::vector<std::int64_t> ids(300);  // past a block of the cache
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = 3 + static_cast<std::int64_t>(i * i * 7 % 50);
  }
  for (const std::string member : kMembers) {
    SCOPED_TRACE(member);
    const Tensor exact = logits(golden_directory(member), ids_of(ids));
    for (const auto& kind : kinds) {
      const Model model = load_as(golden_directory(member), kind.compute, kind.cache);
      KVCache whole = model.make_cache(1);
      const Tensor at_once = *model.forward(ids_of(ids), &whole).logits;
      EXPECT_FALSE(same_bits(at_once, exact));
      EXPECT_LT(difference(at_once, exact), 0.1);
      KVCache cut = model.make_cache(1);
      const std::span<const std::int64_t> all(ids);
      model.forward(ids_of(all.first(270)), &cut);
      const Tensor rest = *model.forward(ids_of(all.subspan(270)), &cut).logits;
      EXPECT_TRUE(same_bits(rest, slice(at_once, 1, 270, 300)));
    }
  }
}

TEST_F(Variants, V2AndDexComputeWhatTheLlamaComputed) {
  for (const std::string llama : {"llama_causal", "llama_three_kv_heads", "llama_tied"}) {
    for (const FamilyTarget to : {FamilyTarget::diff_transformer_v2, FamilyTarget::dex}) {
      SCOPED_TRACE(llama + " to " + std::to_string(static_cast<int>(to)));
      const std::string out = llama + std::to_string(static_cast<int>(to));
      make(llama, out, {.to = to});
      const Golden golden = load_golden(llama + "/plain");
      const Tensor before = logits(golden_directory(llama), golden.inputs);
      EXPECT_TRUE(same_bits(logits(path(out), golden.inputs), before));
    }
  }
}

TEST_F(Variants, NoisePartsTheMapsAndFollowsItsSeed) {
  const Golden golden = load_golden("llama_causal/plain");
  const Tensor before = logits(golden_directory("llama_causal"), golden.inputs);
  const FamilyOptions noisy{.to = FamilyTarget::diff_transformer_v2, .noise = 0.01, .seed = 3};
  FamilyOptions other = noisy;
  other.seed = 4;
  make("llama_causal", "one", noisy);
  make("llama_causal", "again", noisy);
  make("llama_causal", "other", other);
  const double moved = difference(logits(path("one"), golden.inputs), before);
  EXPECT_GT(moved, 0);
  EXPECT_LT(moved, 0.2);
  const std::string weights = bytes_of(path("one") / "model.safetensors");
  EXPECT_EQ(bytes_of(path("again") / "model.safetensors"), weights);
  EXPECT_NE(bytes_of(path("other") / "model.safetensors"), weights);
}

TEST_F(Variants, V1BecomesDiffLlamaAndComesBack) {
  const Golden golden = load_golden("v1_pairs/plain");  // subln has weights, rotary pairs adjoin
  const Tensor before = logits(golden_directory("v1_pairs"), golden.inputs);
  make("v1_pairs", "diffllama", {.to = FamilyTarget::diffllama});
  EXPECT_LT(difference(logits(path("diffllama"), golden.inputs), before), 2e-5);
  convert_family(path("diffllama"), path("back"), {.to = FamilyTarget::diff_transformer},
                 convert_options());
  EXPECT_LT(difference(logits(path("back"), golden.inputs), before), 2e-5);
}

TEST_F(Variants, DiffLlamaBecomesV1) {
  for (const std::string model : {"diffllama_causal", "diffllama_group6_head4", "diffllama_bias"}) {
    SCOPED_TRACE(model);
    const Golden golden = load_golden(model + "/plain");
    make(model, model, {.to = FamilyTarget::diff_transformer});
    const Tensor before = logits(golden_directory(model), golden.inputs);
    EXPECT_LT(difference(logits(path(model), golden.inputs), before), 2e-5);
  }
}

TEST_F(Variants, LlamaBecomesSomeDiffLlama) {
  const Golden golden = load_golden("llama_causal/plain");
  for (const PairedHeads heads : {PairedHeads::mirror, PairedHeads::split_heads}) {
    const std::string out = "paired" + std::to_string(static_cast<int>(heads));
    make("llama_causal", out, {.to = FamilyTarget::diffllama, .heads = heads});
    const Tensor after = logits(path(out), golden.inputs);
    for (const float value : after.f32()) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_F(Variants, RefuseWhatIsNotExact) {
  const auto at = [](const std::string& model) { return golden_directory(model); };
  EXPECT_EQ(refusal(at("v1_causal"), {.to = FamilyTarget::diffllama}),
            at("v1_causal").string() +
                ": kv_pairs: expected true, or as many key heads as query heads: both maps of a "
                "pair read one key head here, in DiffLlama two, got false");
  EXPECT_EQ(refusal(at("v1_mha"), {.to = FamilyTarget::diffllama}),
            at("v1_mha").string() +
                ": subln_eps: expected 1e-05, rms_norm_eps, which DiffLlama's norm has, got 0.03");
  EXPECT_EQ(refusal(at("v1_lambda_init"), {.to = FamilyTarget::diffllama}),
            at("v1_lambda_init").string() +
                ": lambda_init: expected null: DiffLlama's depends on the layer, got 0.5");
  EXPECT_EQ(refusal(at("motif_pairs"), {.to = FamilyTarget::diff_transformer_v2}),
            at("motif_pairs").string() +
                ": model_type: expected llama for --to diff_transformer_v2, got motif");
  EXPECT_EQ(refusal(at("llama_qk_norm"), {.to = FamilyTarget::dex}),
            at("llama_qk_norm").string() + ": qk_norm: expected a plain Llama, got this");
  EXPECT_EQ(refusal(at("llama_causal"), {.to = FamilyTarget::diffllama}),
            "[convert] expected --mirror or --split-heads with a Llama to diffllama, whose norm "
            "makes another function of it, got neither");
  EXPECT_EQ(refusal(at("llama_causal"), {.to = FamilyTarget::dex, .heads = PairedHeads::mirror}),
            "[convert] expected --mirror or --split-heads only with a llama to diffllama, got one "
            "with a llama to dex");
  EXPECT_FALSE(fs::exists(path("refused")));
}

}  // namespace
}  // namespace diffllama::parity
