// What is trained in part: groups of parameters alone, and DEX's lambda as it is warmed up.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "diffllama/error.h"
#include "training/test_sequences.h"
#include "training/trainer.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig partly_trained(bool dex) {
  ModelConfig config = small_config();
  config.initializer_range = 0.3;
  if (!dex) return config;
  config.model_type = ModelType::llama;
  config.dex = {{.layer = 0, .heads = {1, 3}}, {.layer = 1, .heads = {2}}};
  return config;
}

ForwardInputs one_batch() {
  const std::vector<std::int64_t> examples = {1, 2};
  return CountingSource(10).collate(examples);
}

std::vector<float> parameter(const TrainingModel& model, const std::string& name) {
  const Tensor values = model.parameters().at(name).read();
  return {values.f32().begin(), values.f32().end()};
}

std::vector<float> gradient(TrainingModel& model, const std::string& name) {
  const ParameterSlot& slot = *model.layout().find(name);
  const auto all = model.gradients().subspan(static_cast<std::size_t>(slot.offset),
                                             static_cast<std::size_t>(slot.size));
  return {all.begin(), all.end()};
}

TrainerOptions small_options() {
  TrainerOptions options;
  options.max_steps = 4;
  options.batch_size = 2;
  options.schedule = {
      .type = SchedulerType::constant, .learning_rate = 0.01, .warmup_steps = 0, .total_steps = 4};
  return options;
}

TEST(PartialTraining, WhatIsFrozenKeepsItsBits) {
  const ModelConfig config = partly_trained(false);
  const Parameters initial = initial_parameters(config, 3);
  const std::set<std::string> trained = {"model.layers.0.self_attn.lambda_q1",
                                         "model.layers.1.mlp.up_proj.weight"};
  TrainingModel whole(config, initial, {.threads = 1});
  TrainingModel part(config, initial, {.threads = 1, .trained = trained});
  ASSERT_EQ(part.layout().slots().size(), 2U);
  for (TrainingModel* model : {&whole, &part}) {
    model->zero_gradients();
    model->add_gradients(one_batch(), {});
  }
  for (const std::string& name : trained) EXPECT_EQ(gradient(part, name), gradient(whole, name));

  const CountingSource source(10);
  Trainer trainer(part, source, nullptr, small_options(), {});
  for (int step = 0; step < 4; ++step) trainer.step();
  for (const auto& [name, before] : initial) {
    const Tensor tensor = before.read();
    const std::vector<float> was(tensor.f32().begin(), tensor.f32().end());
    EXPECT_EQ(parameter(part, name) == was, !trained.contains(name)) << name;
  }
}

// A model with DEX whose lambdas are not zero.
TrainingModel& with_lambdas(TrainingModel& model) {
  for (const ParameterSlot& slot : model.layout().slots()) {
    if (!slot.name.ends_with("dex_lambda")) continue;
    for (std::int64_t i = 0; i < slot.size; ++i) {
      model.values()[static_cast<std::size_t>(slot.offset + i)] =
          0.4F + 0.3F * static_cast<float>(i);
    }
  }
  model.update();
  return model;
}

double loss(const TrainingModel& model) {
  return static_cast<double>(*model.forward(one_batch()).loss);
}

TEST(PartialTraining, AScaledLambdaHasTheGradientOfTheLoss) {
  const ModelConfig config = partly_trained(true);
  TrainingModel model(config, initial_parameters(config, 3), {.threads = 1});
  with_lambdas(model).set_dex_scale(0.25F);
  model.zero_gradients();
  model.add_gradients(one_batch(), {});
  const std::string name = "model.layers.0.self_attn.dex_lambda";
  const std::vector<float> got = gradient(model, name);
  const ParameterSlot& slot = *model.layout().find(name);
  for (std::size_t i = 0; i < got.size(); ++i) {
    float& value = model.values()[static_cast<std::size_t>(slot.offset) + i];
    const float before = value;
    constexpr float kStep = 0.02F;
    value = before + kStep;
    model.update();
    const double above = loss(model);
    value = before - kStep;
    model.update();
    const double below = loss(model);
    value = before;
    const double want = (above - below) / (2 * double{kStep});
    ASSERT_GT(std::fabs(want), 1e-4);
    EXPECT_NEAR(static_cast<double>(got[i]), want, 0.02 * std::fabs(want) + 1e-5);
  }
}

struct Member {
  const char* name;
  ModelConfig config;
};

std::vector<Member> members() {
  std::vector<Member> all = {{"dex", partly_trained(true)}};
  for (const ModelType type : {ModelType::diff_transformer, ModelType::diff_transformer_v2,
                               ModelType::motif, ModelType::llama}) {
    Member& member = all.emplace_back(Member{"qk_norm", partly_trained(false)});
    member.config.model_type = type;
    if (type == ModelType::diff_transformer) member.name = "v1";
    if (type == ModelType::diff_transformer_v2) member.name = "v2";
    if (type == ModelType::llama) member.config.qk_norm = true;
    if (type != ModelType::motif) continue;
    member.name = "motif";
    member.config.hidden_act = Activation::poly_norm;
  }
  return all;
}

// Along the gradient the loss rises by the gradient's square.
TEST(PartialTraining, AnAdapterOfEachMemberHasTheGradientOfTheLoss) {
  const unsigned seed = std::random_device{}();
  for (const Member& member : members()) {
    SCOPED_TRACE(std::string(member.name) + ", seed " + std::to_string(seed));
    LoraConfig lora;
    lora.rank = 2;
    lora.alpha = 4;
    lora.target_expression = "all-linear";
    TrainingModel model(member.config, initial_parameters(member.config, seed),
                        {.threads = 1, .lora = lora});
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 0.2F);
    for (float& value : model.values()) value = normal(random);
    model.zero_gradients();
    model.add_gradients(one_batch(), {});
    const std::vector<float> gradient(model.gradients().begin(), model.gradients().end());
    const std::vector<float> start(model.values().begin(), model.values().end());
    double norm = 0;
    for (const float value : gradient) norm += double{value} * double{value};
    ASSERT_GT(norm, 1e-6);
    const auto loss_at = [&](double distance) {
      for (std::size_t i = 0; i < start.size(); ++i) {
        model.values()[i] = static_cast<float>(double{start[i]} + distance * double{gradient[i]});
      }
      model.update();
      return model.add_gradients(one_batch(), {}).loss;
    };
    const auto slope = [&](double step) { return (loss_at(step) - loss_at(-step)) / (2 * step); };
    const double step = 2e-3 / norm;
    EXPECT_NEAR((4 * slope(step) - slope(2 * step)) / 3, norm, 1e-2 * norm);
  }
}

TEST(PartialTraining, LambdaCountsByItsScale) {
  const ModelConfig config = partly_trained(true);
  TrainingModel zero(config, initial_parameters(config, 3), {.threads = 1});
  TrainingModel model(config, initial_parameters(config, 3), {.threads = 1});
  with_lambdas(model);
  const double full = loss(model);
  EXPECT_NE(full, loss(zero));
  model.set_dex_scale(0);
  EXPECT_EQ(loss(model), loss(zero));
  model.update();  // packs the weights again
  EXPECT_EQ(loss(model), loss(zero));
  model.set_dex_scale(1);
  EXPECT_EQ(loss(model), full);
}

// Step s of the warm-up sees lambda times s / lambda_warmup_steps.
TEST(PartialTraining, TheTrainerWarmsLambdaUp) {
  const ModelConfig config = partly_trained(true);
  TrainingModel warmed(config, initial_parameters(config, 3), {.threads = 1});
  with_lambdas(warmed);
  const CountingSource source(10);
  TrainerOptions options = small_options();
  options.schedule.learning_rate = 0;
  options.lambda_warmup_steps = 2;
  Trainer trainer(warmed, source, nullptr, options, {});
  TrainingModel model(config, initial_parameters(config, 3), {.threads = 1});
  with_lambdas(model);
  for (const float scale : {0.0F, 0.5F, 1.0F, 1.0F}) {
    model.set_dex_scale(scale);
    EXPECT_EQ(loss(warmed), loss(model)) << scale;
    trainer.step();
  }
}

TEST(PartialTraining, AWarmUpEndsWithinTheRun) {
  Recipe recipe;
  recipe.training.max_steps = 5;
  recipe.training.lambda_warmup_steps = 5;
  EXPECT_EQ(trainer_options(recipe, 10).lambda_warmup_steps, 5);
  recipe.training.lambda_warmup_steps = 6;
  EXPECT_THAT([&] { trainer_options(recipe, 10); },
              ThrowsMessage<ConfigError>(HasSubstr(
                  "training.lambda_warmup_steps: expected at most the run's 5 steps, got 6")));
}

}  // namespace
}  // namespace diffllama
