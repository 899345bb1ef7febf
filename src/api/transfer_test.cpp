#include "diffllama/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::HasSubstr;

const std::string kGolden = DIFFLLAMA_SOURCE_DIR "/tests/golden/forward/diffllama_causal";

ForwardInputs some_ids() {
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(std::vector<std::int64_t>{1, 2, 3}, {1, 3});
  return inputs;
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Transfer, GivesTheLayersAnotherHead) {
  const Model causal = Model::from_pretrained(kGolden);
  std::vector<std::string> warnings;
  LoadOptions options;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  ModelConfig config = causal.config();
  config.architecture = Architecture::base_model;
  const Model base = from_pretrained_as(config, kGolden, 0, options);
  EXPECT_TRUE(warnings.empty());
  ForwardInputs inputs = some_ids();
  inputs.output_hidden_states = true;
  const Tensor states = causal.forward(inputs).hidden_states.back();
  const ForwardOutput output = base.forward(inputs);
  EXPECT_TRUE(std::ranges::equal(states.f32(), output.last_hidden_state->f32()));

  config.architecture = Architecture::sequence_classification;
  config.labels = {"a", "b", "c"};
  const Model classifier = from_pretrained_as(config, kGolden, 0, options);
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_THAT(warnings.front(), HasSubstr("score.weight"));
  EXPECT_EQ(classifier.forward(some_ids()).logits->shape(), (Shape{1, 3}));

  config.num_hidden_layers = 1;
  EXPECT_THAT(refusal([&] { from_pretrained_as(config, kGolden, 0, options); }),
              HasSubstr("layers.1.input_layernorm.weight: expected no such tensor"));
  config.num_hidden_layers = 3;
  EXPECT_THAT(refusal([&] { from_pretrained_as(config, kGolden, 0, options); }),
              HasSubstr("tensors of layers, got"));
}

TEST(Transfer, SetsParameters) {
  Model model = Model::from_pretrained(kGolden);
  const ForwardOutput before = model.forward(some_ids());
  Tensor head = model.parameter("lm_head.weight");
  for (float& value : head.f32()) value *= 2;
  set_parameters(model, {{"lm_head.weight", head}});
  const ForwardOutput after = model.forward(some_ids());
  for (std::size_t i = 0; i < before.logits->f32().size(); ++i) {
    EXPECT_EQ(after.logits->f32()[i],
              2 * before.logits->f32()[i]);  // a power of two rounds nothing
  }
  EXPECT_THAT(refusal([&] {
                set_parameters(model, {{"zap", head}});
              }),
              HasSubstr("expected one of parameter_names(), got \"zap\""));
  EXPECT_THAT(refusal([&] {
                set_parameters(model, {{"model.norm.weight", head}});
              }),
              HasSubstr("model.norm.weight: expected float32 [32], got float32 [56, 32]"));
}

TEST(Transfer, SetsWhatTheWeightsDoNotDependOn) {
  Model model =
      Model::from_pretrained(DIFFLLAMA_SOURCE_DIR "/tests/golden/forward/diffllama_sequence_3");
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(std::vector<std::int64_t>{1, 2, 3, 1, 5, 5}, {2, 3});
  ModelConfig config = model.config();
  config.pad_token_id = 5;
  set_config(model, config);
  const ForwardOutput padded = model.forward(inputs);
  config.pad_token_id = 6;
  config.labels = {"a", "b", "c"};
  set_config(model, config);
  const ForwardOutput whole = model.forward(inputs);
  EXPECT_EQ(padded.logits->f32()[0], whole.logits->f32()[0]);
  EXPECT_NE(padded.logits->f32()[3], whole.logits->f32()[3]);  // of token 0, then of token 2
  config.pad_token_id.reset();
  set_config(model, config);
  EXPECT_THAT(refusal([&] { static_cast<void>(model.forward(inputs)); }),
              HasSubstr("[pad_token_id] expected one"));
  EXPECT_EQ(model.config().labels.front(), "a");

  ModelConfig other = config;
  other.labels.emplace_back("d");
  EXPECT_EQ(refusal([&] { set_config(model, other); }),
            "num_labels: expected 3, as the model has, got 4");
  other = config;
  other.rms_norm_eps = 1e-3;
  EXPECT_THAT(refusal([&] { set_config(model, other); }),
              HasSubstr("expected the layers and the head of the model"));
  EXPECT_EQ(model.config().rms_norm_eps, config.rms_norm_eps);
}

}  // namespace
}  // namespace diffllama
