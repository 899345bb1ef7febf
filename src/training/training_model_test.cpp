#include "training/training_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig small_config(Architecture architecture, ModelType type = ModelType::diffllama) {
  ModelConfig config;
  config.model_type = type;
  config.architecture = architecture;
  config.vocab_size = 41;
  config.hidden_size = 24;
  config.intermediate_size = 36;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 4;
  config.head_dim = 6;
  config.initializer_range = 0.3;
  config.pad_token_id = 0;
  config.labels = {"a", "b", "c"};
  return config;
}

class Batch {
 public:
  explicit Batch(unsigned seed) : random_(seed) {}

  Tensor integers(Shape shape, std::int64_t low, std::int64_t high) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(element_count(shape)));
    for (auto& value : values) {
      value = std::uniform_int_distribution<std::int64_t>(low, high)(random_);
    }
    return Tensor::from(values, std::move(shape));
  }
  /// Two rows of nine tokens, with what the head needs.
  ForwardInputs inputs(Architecture architecture) {
    ForwardInputs batch;
    batch.input_ids = integers({2, 9}, 1, 40);
    switch (architecture) {
      case Architecture::causal_lm:
        batch.labels = integers({2, 9}, 0, 40);
        batch.labels->i64()[4] = -100;
        break;
      case Architecture::token_classification:
        batch.labels = integers({2, 9}, 0, 2);
        batch.labels->i64()[4] = -100;
        break;
      case Architecture::sequence_classification:
        batch.labels = integers({2}, 0, 2);
        break;
      default:
        batch.start_positions = integers({2}, 0, 9);
        batch.end_positions = integers({2}, 0, 8);
        batch.start_positions->i64()[0] = 3;
        break;
    }
    return batch;
  }
  std::vector<float> direction(std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = std::normal_distribution<float>()(random_);
    return values;
  }

 private:
  std::mt19937 random_;
};

std::vector<float> gradients_of(TrainingModel& model, const ForwardInputs& inputs,
                                const GradientOptions& options = {}) {
  model.zero_gradients();
  model.add_gradients(inputs, options);
  return {model.gradients().begin(), model.gradients().end()};
}

TrainingModel::Options on(int threads, ComputeType compute = ComputeType::float32) {
  return {.compute = compute, .threads = threads};
}

// The derivative of f at 0 by central differences of two widths, so that what is left of f's curve
// is of the fourth order: where a head's two maps nearly cancel, the loss bends sharply.
double derivative(const std::function<double(double)>& f, double step) {
  const auto difference = [&](double h) { return (f(h) - f(-h)) / (2 * h); };
  return (4 * difference(step) - difference(2 * step)) / 3;
}

class Heads : public testing::TestWithParam<std::tuple<ModelType, Architecture>> {
 protected:
  Heads() : seed_(std::random_device{}()), batch_(seed_) {}
  ModelConfig config() const { return small_config(architecture(), std::get<0>(GetParam())); }
  Architecture architecture() const { return std::get<1>(GetParam()); }
  std::string trace() const { return "seed " + std::to_string(seed_); }

  unsigned seed_;
  Batch batch_;
};

// The loss of forward() along a random direction of all parameters. It is float32: a loss near 3
// has an error of about 4e-7, over a difference of 2e-3 that is 2e-4.
TEST_P(Heads, GradientIsTheDerivativeOfTheLossOfForward) {
  SCOPED_TRACE(trace());
  TrainingModel model(config(), initial_parameters(config(), seed_), on(1));
  const ForwardInputs inputs = batch_.inputs(architecture());
  const std::vector<float> gradient = gradients_of(model, inputs);
  const std::vector<float> start(model.values().begin(), model.values().end());
  double norm = 0;
  for (const float value : gradient) norm += double{value} * double{value};
  norm = std::sqrt(norm);
  ASSERT_GT(norm, 1e-3);
  // Along the gradient, where the loss changes most, with something of every parameter in it.
  std::vector<float> direction = batch_.direction(gradient.size());
  double slope = 0;
  for (std::size_t i = 0; i < direction.size(); ++i) {
    direction[i] = static_cast<float>(gradient[i] / norm +
                                      double{direction[i]} / std::sqrt(direction.size()) / 4);
    slope += double{direction[i]} * double{gradient[i]};
  }
  const double step = 2e-3 / norm;
  const auto loss_at = [&](double distance) {
    for (std::size_t i = 0; i < start.size(); ++i) {
      model.values()[i] = static_cast<float>(double{start[i]} + distance * double{direction[i]});
    }
    model.update();
    return double{*model.forward(inputs).loss};
  };
  const double difference = derivative(loss_at, step);
  EXPECT_TRUE(std::abs(difference - slope) <= 5e-3 * std::abs(slope))
      << "expected " << difference << ", got " << slope;
}

TEST_P(Heads, LossIsThatOfForward) {
  SCOPED_TRACE(trace());
  TrainingModel model(config(), initial_parameters(config(), seed_), on(2));
  const ForwardInputs inputs = batch_.inputs(architecture());
  const GradientResult result = model.add_gradients(inputs, {});
  const double loss = double{*model.forward(inputs).loss};
  EXPECT_TRUE(std::abs(result.loss - loss) <= 1e-6 * loss) << result.loss << " and " << loss;
}

TEST_P(Heads, ThreadsAndRecomputationChangeNoBit) {
  SCOPED_TRACE(trace());
  const ForwardInputs inputs = batch_.inputs(architecture());
  for (const ComputeType compute : {ComputeType::float32, ComputeType::bfloat16}) {
    TrainingModel one(config(), initial_parameters(config(), seed_), on(1, compute));
    TrainingModel three(config(), initial_parameters(config(), seed_), on(3, compute));
    const std::vector<float> expected = gradients_of(one, inputs);
    EXPECT_EQ(expected, gradients_of(three, inputs));
    EXPECT_EQ(expected, gradients_of(three, inputs, {.recompute_activations = true}));
  }
}

// Sequences of 4, 9 and 2 tokens in one row, as data sources collate them.
TEST_P(Heads, PackedSequencesGiveWhatEachGivesAlone) {
  SCOPED_TRACE(trace());
  TrainingModel model(config(), initial_parameters(config(), seed_), on(2));
  const std::vector<std::int64_t> lengths = {4, 9, 2};
  std::vector<ForwardInputs> alone;
  ForwardInputs packed;
  std::vector<std::int64_t> ids, positions, labels, starts, ends;
  for (const std::int64_t length : lengths) {
    ForwardInputs one;
    one.input_ids = batch_.integers({1, length}, 1, 40);
    for (std::int64_t t = 0; t < length; ++t) positions.push_back(t);
    std::ranges::copy(one.input_ids->i64(), std::back_inserter(ids));
    if (architecture() == Architecture::question_answering) {
      one.start_positions = batch_.integers({1}, 0, length - 1);
      one.end_positions = batch_.integers({1}, 0, length);  // past the end: not counted
      starts.push_back(one.start_positions->i64()[0]);
      ends.push_back(one.end_positions->i64()[0]);
    } else {
      const bool one_label = architecture() == Architecture::sequence_classification;
      one.labels = batch_.integers(one_label ? Shape{1} : Shape{1, length}, 0, 2);
      if (architecture() == Architecture::causal_lm) one.labels->i64()[0] = -100;
      std::ranges::copy(one.labels->i64(), std::back_inserter(labels));
    }
    alone.push_back(std::move(one));
  }
  const auto tokens = std::ssize(ids);
  packed.input_ids = Tensor::from(ids, {1, tokens});
  packed.position_ids = Tensor::from(positions, {1, tokens});
  if (!starts.empty()) {
    ends[1] = 8;  // one counts in any case
    alone[1].end_positions->i64()[0] = 8;
    packed.start_positions = Tensor::from(starts, {3});
    packed.end_positions = Tensor::from(ends, {3});
  } else {
    packed.labels = Tensor::from(labels, std::ssize(labels) == 3 ? Shape{3} : Shape{1, tokens});
  }
  const std::vector<float> together = gradients_of(model, packed);
  const LossCount count = count_labels(model.config(), packed);
  model.zero_gradients();
  double loss = 0;
  for (const ForwardInputs& one : alone) {
    const double part = model.add_gradients(one, {.denominator = count}).loss;
    if (!std::isnan(part)) loss += part;
  }
  const double expected = double{*model.forward(packed).loss};
  EXPECT_TRUE(std::abs(loss - expected) <= 1e-6 * expected) << loss << " and " << expected;
  const float largest = std::abs(*std::ranges::max_element(
      together, [](float a, float b) { return std::abs(a) < std::abs(b); }));
  for (std::size_t i = 0; i < together.size(); ++i) {
    // The same products in another order of sums.
    ASSERT_TRUE(std::abs(together[i] - model.gradients()[i]) <= 1e-5F * largest) << i;
  }
}

TEST_P(Heads, ABatchInPartsGivesTheGradientOfTheWhole) {
  SCOPED_TRACE(trace());
  TrainingModel model(config(), initial_parameters(config(), seed_), on(2));
  const ForwardInputs inputs = batch_.inputs(architecture());
  const std::vector<float> whole = gradients_of(model, inputs);
  const LossCount count = count_labels(model.config(), inputs);
  model.zero_gradients();
  double loss = 0;
  for (std::int64_t row = 0; row < 2; ++row) {
    const auto part = [&](const std::optional<Tensor>& tensor) -> std::optional<Tensor> {
      if (!tensor) return std::nullopt;
      Shape shape = tensor->shape();
      shape[0] = 1;
      const auto size = static_cast<std::size_t>(element_count(shape));
      return Tensor::from(tensor->i64().subspan(static_cast<std::size_t>(row) * size, size), shape);
    };
    ForwardInputs some;
    some.input_ids = part(inputs.input_ids);
    some.labels = part(inputs.labels);
    some.start_positions = part(inputs.start_positions);
    some.end_positions = part(inputs.end_positions);
    loss += model.add_gradients(some, {.denominator = count}).loss;
  }
  const double expected = double{*model.forward(inputs).loss};
  EXPECT_TRUE(std::abs(loss - expected) <= 1e-6 * expected);
  const float largest = std::abs(
      *std::ranges::max_element(whole, [](float a, float b) { return std::abs(a) < std::abs(b); }));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    // The same products in another order of sums.
    ASSERT_TRUE(std::abs(whole[i] - model.gradients()[i]) <= 1e-5F * largest) << i;
  }
}

// Rounding its factors moves a product by about 2^-8 of its norm, and a gradient passes through
// some thirty products of two layers: 2^-8 sqrt(30) = 2 %, twice that is allowed. It holds where
// nothing amplifies it, so weights are small: with larger ones a map minus lambda times the other
// may nearly vanish, or a label be all but certain, and what is left is mostly rounding.
TEST_P(Heads, Bfloat16ProductsStayNearFloat32) {
  SCOPED_TRACE(trace());
  ModelConfig small = config();
  small.initializer_range = 0.1;
  const ForwardInputs inputs = batch_.inputs(architecture());
  TrainingModel full(small, initial_parameters(small, seed_), on(2));
  TrainingModel narrow(small, initial_parameters(small, seed_), on(2, ComputeType::bfloat16));
  const std::vector<float> expected = gradients_of(full, inputs);
  const std::vector<float> got = gradients_of(narrow, inputs);
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(double{got[i]} - double{expected[i]}, 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  EXPECT_TRUE(std::sqrt(difference) <= 0.04 * std::sqrt(norm)) << std::sqrt(difference / norm);
}

INSTANTIATE_TEST_SUITE_P(All, Heads,
                         testing::Combine(testing::Values(ModelType::diffllama, ModelType::llama),
                                          testing::Values(Architecture::causal_lm,
                                                          Architecture::sequence_classification,
                                                          Architecture::question_answering,
                                                          Architecture::token_classification)));

TEST(TrainingModel, PackedDocumentsGiveWhatEachGivesAlone) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const ModelConfig config = small_config(Architecture::causal_lm);
  TrainingModel model(config, initial_parameters(config, seed), on(2));
  Batch batch(seed);
  ForwardInputs packed;
  packed.input_ids = batch.integers({1, 10}, 1, 40);
  packed.labels = packed.input_ids;
  packed.labels->i64()[6] = -100;  // the second document's first token
  packed.position_ids =
      Tensor::from(std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3}, {1, 10});
  const std::vector<float> together = gradients_of(model, packed);
  const LossCount count = count_labels(config, packed);
  model.zero_gradients();
  for (const auto& [first, end] : {std::pair<std::size_t, std::size_t>{0, 6}, {6, 10}}) {
    ForwardInputs alone;
    alone.input_ids = Tensor::from(packed.input_ids->i64().subspan(first, end - first),
                                   {1, static_cast<std::int64_t>(end - first)});
    alone.labels = alone.input_ids;
    model.add_gradients(alone, {.denominator = count});
  }
  for (std::size_t i = 0; i < together.size(); ++i) {
    ASSERT_TRUE(std::abs(together[i] - model.gradients()[i]) <= 2e-5F) << i;
  }
}

TEST(TrainingModel, WithoutACountedLabelNothingIsAdded) {
  const ModelConfig config = small_config(Architecture::causal_lm);
  TrainingModel model(config, initial_parameters(config, 1), on(1));
  Batch batch(1);
  ForwardInputs inputs = batch.inputs(Architecture::causal_lm);
  std::ranges::fill(inputs.labels->i64(), -100);
  EXPECT_TRUE(std::isnan(model.add_gradients(inputs, {}).loss));
  EXPECT_TRUE(std::ranges::all_of(model.gradients(), [](float value) { return value == 0; }));
}

TEST(TrainingModel, ThePaddingRowLearnsNothingFromTheLookUp) {
  const ModelConfig config = small_config(Architecture::causal_lm);
  TrainingModel model(config, initial_parameters(config, 1), on(1));
  Batch batch(1);
  ForwardInputs inputs = batch.inputs(Architecture::causal_lm);
  inputs.input_ids->i64()[3] = 0;
  const std::vector<float> gradient = gradients_of(model, inputs);
  const ParameterSlot& slot = *model.layout().find("model.embed_tokens.weight");
  const auto* row = gradient.data() + slot.offset;
  EXPECT_TRUE(std::all_of(row, row + config.hidden_size, [](float value) { return value == 0; }));
}

TEST(TrainingModel, TokenClassificationDropsOutBySeedAlone) {
  ModelConfig config = small_config(Architecture::token_classification);
  config.classifier_dropout = 0.5;
  TrainingModel model(config, initial_parameters(config, 1), on(2));
  Batch batch(1);
  const ForwardInputs inputs = batch.inputs(Architecture::token_classification);
  const std::vector<float> first = gradients_of(model, inputs, {.dropout_seed = 5});
  EXPECT_EQ(first, gradients_of(model, inputs, {.dropout_seed = 5}));
  EXPECT_NE(first, gradients_of(model, inputs, {.dropout_seed = 6}));
  EXPECT_NE(first, gradients_of(model, inputs));
}

TEST(TrainingModel, WatchesItsLayers) {
  const ModelConfig config = small_config(Architecture::causal_lm);
  TrainingModel model(config, initial_parameters(config, 1), on(1));
  Batch batch(1);
  const ForwardInputs inputs = batch.inputs(Architecture::causal_lm);
  const GradientResult healthy = model.add_gradients(inputs, {});
  ASSERT_EQ(healthy.layers.size(), 2U);
  for (const LayerWatch& layer : healthy.layers) {
    EXPECT_TRUE(layer.finite);
    EXPECT_GT(layer.smallest_rms, 0);
    EXPECT_GE(layer.rms, layer.smallest_rms);
    EXPECT_NE(layer.lambda, 0);
  }
  const ParameterSlot& slot = *model.layout().find("model.layers.1.mlp.down_proj.weight");
  model.values()[static_cast<std::size_t>(slot.offset)] = NAN;
  model.update();
  const GradientResult broken = model.add_gradients(inputs, {});
  EXPECT_TRUE(broken.layers[0].finite);
  EXPECT_FALSE(broken.layers[1].finite);
}

TEST(TrainingModel, RefusesWrongLabels) {
  const ModelConfig config = small_config(Architecture::causal_lm);
  TrainingModel model(config, initial_parameters(config, 1), on(1));
  Batch batch(1);
  ForwardInputs inputs = batch.inputs(Architecture::causal_lm);
  inputs.labels->i64()[5] = 41;
  EXPECT_THAT([&] { model.add_gradients(inputs, {}); },
              ThrowsMessage<InvalidArgument>(HasSubstr("[labels] expected -100 or 0..40, got 41")));
  inputs.labels.reset();
  EXPECT_THAT([&] { model.add_gradients(inputs, {}); },
              ThrowsMessage<InvalidArgument>(HasSubstr("[labels] expected labels for a loss")));
}

LoraConfig small_adapter(double dropout = 0) {
  LoraConfig lora;
  lora.rank = 3;
  lora.alpha = 5;
  lora.dropout = dropout;
  lora.target_expression = "all-linear";
  return lora;
}

// B starts as zeros, and A would have no gradient.
void fill_adapter(TrainingModel& model, Batch& batch) {
  const std::vector<float> values = batch.direction(model.values().size());
  for (std::size_t i = 0; i < values.size(); ++i) model.values()[i] = 0.2F * values[i];
  model.update();
}

class Adapters : public testing::TestWithParam<Architecture> {};

// Of the loss that comes with the gradients, under the same dropout. Float32 products make the loss
// good to about 1e-6.
TEST_P(Adapters, GradientIsTheDerivative) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const ModelConfig config = small_config(GetParam());
  for (const double dropout : {0.0, 0.3}) {
    TrainingModel model(config, initial_parameters(config, seed),
                        {.compute = ComputeType::float32,
                         .threads = 2,
                         .lora = with_trained_head(small_adapter(dropout), config.architecture)});
    Batch batch(seed);
    fill_adapter(model, batch);
    const ForwardInputs inputs = batch.inputs(GetParam());
    const GradientOptions options = {.dropout_seed = 11};
    const std::vector<float> gradient = gradients_of(model, inputs, options);
    const std::vector<float> start(model.values().begin(), model.values().end());
    double norm = 0;
    for (const float value : gradient) norm += double{value} * double{value};
    ASSERT_GT(norm, 1e-6);
    const double step = 2e-3 / norm;
    const auto loss_at = [&](double distance) {
      for (std::size_t i = 0; i < start.size(); ++i) {
        model.values()[i] = static_cast<float>(double{start[i]} + distance * double{gradient[i]});
      }
      model.update();
      return model.add_gradients(inputs, options).loss;
    };
    const double slope = derivative(loss_at, step);
    EXPECT_TRUE(std::abs(slope - norm) <= 5e-3 * norm) << "expected " << slope << ", got " << norm;
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, Adapters,
                         testing::Values(Architecture::causal_lm,
                                         Architecture::sequence_classification,
                                         Architecture::token_classification));

TEST(TrainingModel, AnAdapterLeavesTheModelAlone) {
  const ModelConfig config = small_config(Architecture::causal_lm);
  const Parameters parameters = initial_parameters(config, 3);
  TrainingModel plain(config, parameters, on(2));
  TrainingModel adapted(config, parameters,
                        {.compute = ComputeType::float32, .threads = 2, .lora = small_adapter()});
  for (const ParameterSlot& slot : adapted.layout().slots()) {
    EXPECT_THAT(slot.name, HasSubstr(".lora_"));
  }
  Batch batch(3);
  const ForwardInputs inputs = batch.inputs(Architecture::causal_lm);
  // B is zero: the adapter adds nothing yet.
  const ForwardOutput before = plain.forward(inputs);
  const ForwardOutput with = adapted.forward(inputs);
  EXPECT_TRUE(std::ranges::equal(before.logits->f32(), with.logits->f32()));
  fill_adapter(adapted, batch);
  EXPECT_FALSE(std::ranges::equal(before.logits->f32(), adapted.forward(inputs).logits->f32()));
  EXPECT_EQ(adapted.parameters().size(), parameters.size());
}

TEST(TrainingModel, AnAdapterDropsOutBySeedAlone) {
  const ModelConfig config = small_config(Architecture::causal_lm);
  TrainingModel model(config, initial_parameters(config, 3),
                      {.compute = ComputeType::float32, .threads = 2, .lora = small_adapter(0.5)});
  Batch batch(3);
  fill_adapter(model, batch);
  const ForwardInputs inputs = batch.inputs(Architecture::causal_lm);
  const std::vector<float> first = gradients_of(model, inputs, {.dropout_seed = 5});
  EXPECT_EQ(first, gradients_of(model, inputs, {.dropout_seed = 5}));
  EXPECT_EQ(first, gradients_of(model, inputs, {.recompute_activations = true, .dropout_seed = 5}));
  EXPECT_NE(first, gradients_of(model, inputs, {.dropout_seed = 6}));
  EXPECT_NE(first, gradients_of(model, inputs));
}

}  // namespace
}  // namespace diffllama
