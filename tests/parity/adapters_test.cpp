// Holds models with a LoRA adapter to what PEFT computed in tests/golden/adapters: merged on
// loading, and merged by convert into every format.

#include "model/adapters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/adapter/adapter_head.h"
#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/test_files.h"
#include "diffllama/checkpoint.h"
#include "diffllama/model.h"
#include "parity/golden_files.h"

namespace diffllama::parity {
namespace {

namespace fs = std::filesystem;

// The bound for outputs: max |difference| over max |reference|.
constexpr double kTolerance = 2e-5;

struct AdapterGolden {
  fs::path adapter, checkpoint;
  ForwardInputs inputs;
  Tensors outputs;
};

AdapterGolden load_adapter_golden(const std::string& name) {
  AdapterGolden golden;
  golden.adapter = source_dir() / "tests/golden/adapters" / name;
  std::ifstream file(golden.adapter / "case.json");
  golden.checkpoint =
      source_dir() / nlohmann::json::parse(file).at("checkpoint").get<std::string>();
  golden.inputs.input_ids = load_tensors(golden.adapter / "inputs.safetensors").at("input_ids");
  golden.outputs = load_tensors(golden.adapter / "outputs.safetensors");
  return golden;
}

std::vector<std::string> adapter_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(source_dir() / "tests/golden/adapters")) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

Tensors run(const fs::path& checkpoint, const fs::path& adapter, const ForwardInputs& inputs,
            ComputeType compute = ComputeType::float32) {
  LoadOptions options;
  options.compute = compute;
  options.threads = 1;
  options.adapter = adapter;
  options.warn = [](const std::string&) {};
  return named(Model::from_pretrained(checkpoint, options).forward(inputs));
}

// The largest difference over all outputs, each as a share of its largest reference value.
double worst_difference(const Tensors& got, const Tensors& want) {
  double worst = 0;
  for (const auto& [name, reference] : want) {
    if (!got.contains(name) || got.at(name).shape() != reference.shape()) return INFINITY;
    double scale = 0;
    double difference = 0;
    for (std::size_t i = 0; i < reference.f32().size(); ++i) {
      const double w = reference.f32()[i];
      const double d = std::abs(static_cast<double>(got.at(name).f32()[i]) - w);
      if (std::isnan(d)) return INFINITY;
      scale = std::max(scale, std::abs(w));
      difference = std::max(difference, d);
    }
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

Checkpoint open(const fs::path& path) {
  return Checkpoint::open(path, [](const std::string&) {});
}

bool is_float32(const fs::path& path) {
  const Checkpoint checkpoint = open(path);
  return std::ranges::all_of(tensor_specs(checkpoint.config()), [&](const TensorSpec& spec) {
    const StoredTensor* stored = checkpoint.find(spec.name);
    return stored == nullptr || stored->view.dtype == DType::float32;
  });
}

// The model that the adapter is for, with the head that it brings.
ModelConfig config_of(const AdapterGolden& golden) {
  return config_with_adapter(golden.adapter, open(golden.checkpoint).config(),
                             [](const std::string&) {});
}

bool is_causal(const AdapterGolden& golden) {
  return config_of(golden).architecture == Architecture::causal_lm;
}

class AdapterGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  AdapterGolden golden_ = load_adapter_golden(GetParam());
  TestDirectory directory_;
};

TEST_P(AdapterGoldenTest, MatchesPeft) {
  const Tensors got = run(golden_.checkpoint, golden_.adapter, golden_.inputs);
  EXPECT_EQ(got.size(), golden_.outputs.size());
  const double worst = worst_difference(got, golden_.outputs);
  EXPECT_TRUE(worst <= kTolerance) << worst;
  // Without the adapter it would not.
  EXPECT_GT(worst_difference(run(golden_.checkpoint, {}, golden_.inputs), golden_.outputs), 0.01);
}

// Merged by convert. A checkpoint of float32 loses nothing; the others round what they store, by
// 2^-9 of each weight at most, so that outputs move by some of these.
TEST_P(AdapterGoldenTest, MatchesPeftAfterConversion) {
  const double tolerance = is_float32(golden_.checkpoint) ? kTolerance : 8.0 / 512;
  const ConvertOptions options = {.adapter = golden_.adapter,
                                  .warn = [](const std::string& text) { FAIL() << text; },
                                  .progress = {}};
  const ConvertOptions silent = {
      .adapter = golden_.adapter, .warn = [](const std::string&) {}, .progress = {}};
  const ConvertOptions plain = {.warn = [](const std::string&) {}, .progress = {}};
  const auto expect_close = [&](const fs::path& path) {
    const double worst = worst_difference(run(path, {}, golden_.inputs), golden_.outputs);
    EXPECT_TRUE(worst <= tolerance) << path << ": " << worst;
  };
  const fs::path directory = directory_.path() / "merged";
  convert_model(golden_.checkpoint, directory, options);
  expect_close(directory);
  EXPECT_EQ(open(directory).config().labels, config_of(golden_).labels);
  if (!is_causal(golden_)) return;
  const fs::path file = directory_.path() / "merged.gguf";
  convert_model(golden_.checkpoint, file, silent);
  expect_close(file);
  const fs::path base = directory_.path() / "base.gguf";
  convert_model(golden_.checkpoint, base, plain);
  const fs::path from_file = directory_.path() / "file_to_file.gguf";
  convert_model(base, from_file, silent);
  expect_close(from_file);
  const fs::path to_directory = directory_.path() / "file_to_directory";
  convert_model(base, to_directory, silent);
  expect_close(to_directory);
  // The four ways store the same bits.
  const Tensors want = run(directory, {}, golden_.inputs);
  for (const fs::path& path : {file, from_file, to_directory}) {
    EXPECT_EQ(worst_difference(run(path, {}, golden_.inputs), want), 0) << path;
  }
  // The base's file serves as the base's directory does.
  EXPECT_EQ(worst_difference(run(base, golden_.adapter, golden_.inputs),
                             run(golden_.checkpoint, golden_.adapter, golden_.inputs)),
            0);
}

// In block-quantised models what the adapter changes is not quantised again.
TEST_P(AdapterGoldenTest, MergesIntoQuantisedModels) {
  if (!is_causal(golden_)) return;
  const fs::path base = directory_.path() / "base.gguf";
  quantize_model(golden_.checkpoint, base, "Q8_0",
                 {.warn = [](const std::string&) {}, .progress = {}});
  const Tensors want = run(base, golden_.adapter, golden_.inputs);
  // q8_0 keeps 8 bits of a block's largest weight; outputs move by some of these, and by less than
  // the adapter moves them.
  const double rounding = worst_difference(want, golden_.outputs);
  EXPECT_LE(rounding, 16.0 / 256);
  EXPECT_GT(worst_difference(run(base, {}, golden_.inputs), golden_.outputs), 2 * rounding);
  // Rows that are no multiple of 32 are float16 there, and again when merged.
  const Checkpoint quantised = open(base);
  const auto adapter = LoraAdapter::open(golden_.adapter, quantised.config());
  const bool exact = std::ranges::all_of(adapter->layout().targets, [&](const LoraTarget& target) {
    const StoredTensor* stored = quantised.find(target.weight_name());
    return stored == nullptr || block_elements(stored->view.dtype) > 1;  // null: a tied lm_head
  });
  const double tolerance = exact ? 0 : 8.0 / 2048;
  const fs::path merged = directory_.path() / "merged.gguf";
  const ConvertOptions options = {
      .adapter = golden_.adapter, .warn = [](const std::string&) {}, .progress = {}};
  convert_model(base, merged, options);
  EXPECT_LE(worst_difference(run(merged, {}, golden_.inputs), want), tolerance);
  const fs::path directory = directory_.path() / "merged";
  convert_model(base, directory, options);
  EXPECT_LE(worst_difference(run(directory, {}, golden_.inputs), want), tolerance);
  // Products in bfloat16 round a merged weight as they round any other.
  const double narrow = worst_difference(
      run(base, golden_.adapter, golden_.inputs, ComputeType::bfloat16), golden_.outputs);
  EXPECT_TRUE(narrow <= 0.1) << narrow;
}

// What is written anew computes the same. With DIFFLLAMA_WRITE_ADAPTERS=DIR the adapters stay
// there, for tools/make_adapter_goldens.py --check.
TEST_P(AdapterGoldenTest, ComputesTheSameWhenSavedAgain) {
  const ModelConfig config = config_of(golden_);
  const auto adapter = LoraAdapter::open(golden_.adapter, config);
  LoraConfig lora = adapter->config();
  lora.target_expression.clear();
  lora.target_modules.clear();
  for (const LoraTarget& target : adapter->layout().targets) {
    lora.target_modules.push_back(target.module);
  }
  if (GetParam() == "sequence_no_task") return;  // a head that PEFT would train whole is a target
  const Parameters parameters = stored_lora_parameters(adapter);
  std::vector<TensorSource> tensors;
  for (const TensorSpec& spec : lora_layout(lora, config).tensors()) {
    tensors.push_back(
        rounded_tensor(spec.name, DType::float32, spec.shape, parameters.at(spec.name).read_row));
  }
  fs::path out = directory_.path();
  if (const char* kept = std::getenv("DIFFLLAMA_WRITE_ADAPTERS")) out = kept;
  save_lora_adapter(out / GetParam(), lora, config, std::move(tensors));
  EXPECT_EQ(worst_difference(run(golden_.checkpoint, out / GetParam(), golden_.inputs),
                             run(golden_.checkpoint, golden_.adapter, golden_.inputs)),
            0);
}

INSTANTIATE_TEST_SUITE_P(Peft, AdapterGoldenTest, testing::ValuesIn(adapter_names()),
                         [](const auto& golden) { return golden.param; });

}  // namespace
}  // namespace diffllama::parity
