#include "training/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/random.h"
#include "checkpoint/safetensors/safetensors.h"

namespace diffllama {
namespace {

template <class T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.tensors().at(name);
  std::vector<T> values(view.bytes.size() / sizeof(T));
  std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
  return values;
}

/// The flat array of a layout, filled from tensors PREFIX + name.
std::vector<float> flat(const SafetensorsFile& file, const ParameterLayout& layout,
                        const std::string& prefix) {
  std::vector<float> array(static_cast<std::size_t>(layout.size()));
  for (const ParameterSlot& slot : layout.slots()) {
    std::ranges::copy(values_of<float>(file, prefix + slot.name), array.begin() + slot.offset);
  }
  return array;
}

ParameterLayout layout_of(const SafetensorsFile& file) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, view] : file.tensors()) {
    if (!name.starts_with("initial.")) continue;
    specs.push_back({.name = name.substr(8), .gguf_name = "", .shape = view.shape});
  }
  return ParameterLayout(specs);
}

TEST(AdamW, TenStepsAreTorchs) {
  const SafetensorsFile golden(DIFFLLAMA_SOURCE_DIR "/tests/golden/optimizer/adamw.safetensors");
  const ParameterLayout layout = layout_of(golden);
  ASSERT_EQ(layout.slots().size(), 5U);
  const auto norms = values_of<double>(golden, "norms");
  const auto rates = values_of<double>(golden, "learning_rates");
  ASSERT_EQ(rates.size(), 10U);
  const Parallel parallel(2);
  AdamW adamw(layout, {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1});
  std::vector<float> values = flat(golden, layout, "initial.");
  for (std::size_t step = 0; step < rates.size(); ++step) {
    const std::string number = std::to_string(step) + ".";
    const std::vector<float> gradients = flat(golden, layout, "gradient." + number);
    const double norm = gradient_norm(gradients, parallel);
    // torch sums the norm in float32: 75 squares and a square root.
    EXPECT_FALSE(!(std::abs(norm - norms[step]) <= 1e-5 * norms[step])) << step;
    adamw.step(rates[step], clip_scale(norm, 1.0), gradients, values, parallel);
    const std::vector<float> expected = flat(golden, layout, "value." + number);
    for (std::size_t i = 0; i < values.size(); ++i) {
      // A value below 4 is rounded to 2^-23 of itself twice a step; the step itself, at most 0.1,
      // is off by some roundings.
      EXPECT_FALSE(!(std::abs(values[i] - expected[i]) <= 2e-6F))
          << "step " << step << ", element " << i << ": " << values[i] << ", " << expected[i];
    }
  }
}

struct Noise {
  explicit Noise(std::uint64_t stream) : random(2024, stream) {}
  std::vector<float> operator()(std::int64_t size) const {
    std::vector<float> values(static_cast<std::size_t>(size));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(random.normal(i));
    }
    return values;
  }
  Random random;
};

// More than one chunk, cut in the middle of a slot.
ParameterLayout large_layout() {
  return ParameterLayout(
      std::vector<TensorSpec>{{.name = "a.weight", .gguf_name = "", .shape = {300, 301}},
                              {.name = "norm.weight", .gguf_name = "", .shape = {77}},
                              {.name = "b.weight", .gguf_name = "", .shape = {70001}}});
}

TEST(AdamW, ThreadsChangeNoBit) {
  const ParameterLayout layout = large_layout();
  const std::vector<float> gradients = Noise(1)(layout.size());
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    const Parallel parallel(threads);
    AdamW adamw(layout, {.weight_decay = 0.1});
    std::vector<float> values = Noise(2)(layout.size());
    for (int step = 0; step < 3; ++step) {
      const double norm = gradient_norm(gradients, parallel);
      adamw.step(1e-2, clip_scale(norm, 1.0), gradients, values, parallel);
    }
    if (first.empty()) first = values;
    EXPECT_EQ(values, first) << threads << " threads";
  }
}

TEST(AdamW, StateContinuesWhereItStood) {
  const ParameterLayout layout = large_layout();
  const Parallel parallel(2);
  const std::vector<float> gradients = Noise(3)(layout.size());
  AdamW whole(layout, {.weight_decay = 0.01});
  std::vector<float> values = Noise(4)(layout.size());
  for (int step = 0; step < 2; ++step) whole.step(1e-2, 1.0, gradients, values, parallel);

  AdamW resumed(layout, {.weight_decay = 0.01});
  std::ranges::copy(whole.first_moment(), resumed.first_moment().begin());
  std::ranges::copy(whole.second_moment(), resumed.second_moment().begin());
  resumed.set_steps(whole.steps());
  std::vector<float> resumed_values = values;
  whole.step(1e-2, 1.0, gradients, values, parallel);
  resumed.step(1e-2, 1.0, gradients, resumed_values, parallel);
  EXPECT_EQ(values, resumed_values);
  EXPECT_EQ(resumed.steps(), 3);
}

TEST(AdamW, LeavesPaddingAndUndecayedValuesAlone) {
  const ParameterLayout layout = large_layout();
  const Parallel parallel(1);
  const std::vector<float> none(static_cast<std::size_t>(layout.size()));
  std::vector<float> values(static_cast<std::size_t>(layout.size()), 2.0F);
  AdamW adamw(layout, {.weight_decay = 0.5});
  adamw.step(0.5, 1.0, none, values, parallel);
  for (const ParameterSlot& slot : layout.slots()) {
    EXPECT_EQ(values[static_cast<std::size_t>(slot.offset)], slot.decay ? 1.5F : 2.0F) << slot.name;
    const auto end = static_cast<std::size_t>(slot.offset + slot.size);
    EXPECT_EQ(values[end - 1], slot.decay ? 1.5F : 2.0F) << slot.name;
    if (end % 16 != 0) {
      EXPECT_EQ(values[end], 2.0F) << "behind " << slot.name;
    }
  }
}

TEST(GradientNorm, IsInFloat64) {
  const Parallel parallel(2);
  // The squares alone pass the largest float32.
  EXPECT_DOUBLE_EQ(gradient_norm(std::vector<float>{3e30F, 4e30F}, parallel),
                   std::hypot(static_cast<double>(3e30F), static_cast<double>(4e30F)));
  EXPECT_EQ(gradient_norm({}, parallel), 0.0);
  std::vector<float> gradients(100000, 1.0F);
  EXPECT_DOUBLE_EQ(gradient_norm(gradients, parallel), std::sqrt(1e5));
  gradients[70000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(gradient_norm(gradients, parallel)));
}

TEST(ClipScale, IsTorchs) {
  EXPECT_EQ(clip_scale(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_scale(4.0, 1.0), 1.0 / 4.000001);
  EXPECT_EQ(clip_scale(4.0, 0.0), 1.0) << "0: no clipping";
  EXPECT_EQ(clip_scale(0.0, 1.0), 1.0);
}

}  // namespace
}  // namespace diffllama
