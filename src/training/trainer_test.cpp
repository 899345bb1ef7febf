#include "training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/random.h"
#include "checkpoint/save.h"
#include "checkpoint/test_files.h"
#include "training/data/shuffle.h"
#include "training/test_sequences.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// The same with examples that are labelled in part, wrongly or not at all.
class FlawedSource : public CountingSource {
 public:
  using CountingSource::CountingSource;
  ForwardInputs collate(std::span<const std::int64_t> examples) const override {
    check_examples(examples);
    ForwardInputs inputs = CountingSource::collate(examples);
    for (std::int64_t i = 0; i < inputs.labels->size(); ++i) {
      const std::int64_t example = examples[static_cast<std::size_t>(i / kLength)];
      auto& label = inputs.labels->i64()[static_cast<std::size_t>(i)];
      if (example == uncounted || uncounted == kAll) label = -100;
      if (example == mislabelled) label = 19;
      // Few labels in some examples: means of batches are then not the mean of all.
      if (example % 3 == 0 && i % kLength > 2) label = -100;
    }
    collated.insert(collated.end(), examples.begin(), examples.end());
    return inputs;
  }

  static constexpr std::int64_t kAll = -2;
  std::int64_t uncounted = -1, mislabelled = -1;
  mutable std::vector<std::int64_t> collated;  // in order
};

/// The same with a measure that takes what it is told to, evaluation by evaluation.
class MeasuredSource : public FlawedSource {
 public:
  using FlawedSource::FlawedSource;
  std::unique_ptr<Measurement> measurement(PredictionSink /*sink*/) const override {
    class Told : public Measurement {
     public:
      explicit Told(double value) : value_(value) {}
      void add(const MeasuredBatch& /*batch*/) override {}
      Result result() override {
        Result result;
        result.measures = {{"f1", value_}};
        return result;
      }

     private:
      double value_;
    };
    if (values.empty()) return nullptr;
    return std::make_unique<Told>(values.at(evaluations++));
  }

  std::vector<double> values;
  mutable std::size_t evaluations = 0;
};

TrainerOptions small_options() {
  TrainerOptions options;
  options.max_steps = 8;
  options.batch_size = 4;
  options.seed = 11;
  options.schedule = {
      .type = SchedulerType::cosine, .learning_rate = 0.01, .warmup_steps = 2, .total_steps = 8};
  options.adam.weight_decay = 0.1;
  options.eval_steps = 3;
  options.save_steps = 2;
  return options;
}

/// A model with its trainer and its directory.
struct Fixture {
  explicit Fixture(const TrainerOptions& options = small_options(), int threads = 1)
      : model(small_config(), initial_parameters(small_config(), 3),
              {.compute = ComputeType::float32, .threads = threads}) {
    hooks.write_model = [this](const fs::path& directory) {
      std::vector<TensorSource> tensors;
      for (const auto& [name, parameter] : model.parameters()) {
        tensors.push_back(
            rounded_tensor(name, DType::float32, parameter.shape, parameter.read_row));
      }
      save_model_directory(directory, small_config(), std::move(tensors));
    };
    hooks.stop_requested = [this] {
      return stop_at == trainer->state().step && ++questions > questions_before_stop;
    };
    trainer = std::make_unique<Trainer>(model, train, &valid, options, hooks);
  }
  bool run(const fs::path& path) const {
    const RunDirectory directory(path);
    if (const auto checkpoint = directory.newest({})) trainer->resume(*checkpoint);
    MetricsFile metrics(path / "metrics.jsonl", trainer->state().step,
                        trainer->state().evaluated_step);
    return trainer->run(directory, metrics);
  }
  std::vector<float> values() {
    const auto span = model.values();
    return {span.begin(), span.end()};
  }

  TrainingModel model;
  FlawedSource train{10};
  MeasuredSource valid{4};
  TrainerHooks hooks;
  std::int64_t stop_at = -1;
  std::int64_t questions = 0, questions_before_stop = 0;  // after that step
  std::unique_ptr<Trainer> trainer;
};

// What does not depend on the clock in a metrics.jsonl.
std::string timeless(const fs::path& path) {
  std::string text = read_whole_file(path / "metrics.jsonl");
  for (std::size_t at = 0; (at = text.find("\"tokens_per_second\":", at)) != std::string::npos;) {
    text.erase(at, text.find_first_of(",}", at) - at);
  }
  return text;
}

TEST(Trainer, Learns) {
  TrainerOptions options = small_options();
  options.max_steps = options.schedule.total_steps = 60;
  Fixture fixture(options);
  const double before = fixture.trainer->evaluate()->loss;
  for (int step = 0; step < 60; ++step) fixture.trainer->step();
  EXPECT_LT(fixture.trainer->evaluate()->loss, before / 2);
}

TEST(Trainer, StoppedAnywhereItContinuesWithTheSameBits) {
  const TestDirectory scratch;
  Fixture whole;
  ASSERT_TRUE(whole.run(scratch.path() / "whole"));
  // Steps 3, 6 and 8 are evaluated: there the second question comes before the first batch.
  for (std::int64_t trial = 1; trial <= 8 + 3; ++trial) {
    SCOPED_TRACE(trial);
    const fs::path path = scratch.path() / std::to_string(trial);
    {
      Fixture first;
      first.stop_at = trial <= 8 ? trial : std::array{3, 6, 8}[static_cast<std::size_t>(trial - 9)];
      first.questions_before_stop = trial <= 8 ? 0 : 1;
      ASSERT_FALSE(first.run(path));
      const auto saved = RunDirectory(path).newest({});
      ASSERT_TRUE(saved.has_value());
      EXPECT_EQ(saved->state.step, first.stop_at) << "the step that was taken is saved";
      EXPECT_LT(saved->state.evaluated_step, first.stop_at);
    }
    Fixture second;
    ASSERT_TRUE(second.run(path));
    EXPECT_EQ(second.values(), whole.values());
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "trainer_state.json"}) {
      EXPECT_EQ(read_whole_file(path / "last" / name),
                read_whole_file(scratch.path() / "whole" / "last" / name))
          << name;
    }
    EXPECT_EQ(timeless(path), timeless(scratch.path() / "whole"));
  }
}

TEST(Trainer, ARunThatGoesOnSetsTheLinksOfOneThatWasKilledBeforeIt) {
  const TestDirectory scratch;
  const fs::path& path = scratch.path();
  ASSERT_TRUE(Fixture().run(path));
  const auto target = [&](const char* name) { return fs::read_symlink(path / name).string(); };
  const std::string last = target("last"), best = target("best");
  for (const char* name : {"last", "best"}) {
    fs::remove(path / name);
    fs::create_directory_symlink("checkpoint-2", path / name);
  }
  ASSERT_TRUE(Fixture().run(path));
  EXPECT_EQ(target("last"), last);
  EXPECT_EQ(target("best"), best);
}

TEST(Trainer, BatchesOfAnotherSizeGoOnWhereTheOthersEnded) {
  const TestDirectory scratch;
  TrainerOptions options = small_options();
  options.max_steps = 3;
  ASSERT_TRUE(Fixture(options).run(scratch.path()));
  options.max_steps = 4;
  options.batch_size = 2;
  options.gradient_accumulation_steps = 3;
  Fixture second(options);
  ASSERT_TRUE(second.run(scratch.path()));
  std::vector<std::int64_t> expected;
  for (std::int64_t i = 12; i < 18; ++i) expected.push_back(shuffled_example(options.seed, i, 10));
  EXPECT_EQ(second.train.collated, expected);
  EXPECT_EQ(second.trainer->state().examples, 18);
}

TEST(Trainer, NoShareOfThePeakPassesOne) {
  const TestDirectory scratch;
  TrainerOptions options = small_options();
  options.operations_per_token = 1e6;
  options.peak_operations = 1;  // measured while other work ran
  Fixture fixture(options);
  ASSERT_TRUE(fixture.run(scratch.path()));
  std::istringstream lines(read_whole_file(scratch.path() / "metrics.jsonl"));
  int shares = 0;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json metrics = nlohmann::json::parse(line);
    if (!metrics.contains("mfu")) continue;
    ++shares;
    EXPECT_GT(metrics["mfu"].get<double>(), 0);
    EXPECT_LE(metrics["mfu"].get<double>(), 1);
  }
  EXPECT_EQ(shares, 8);
}

TEST(Trainer, ThreadsChangeNoBit) {
  Fixture one, three(small_options(), 3);
  for (int step = 0; step < 4; ++step) {
    EXPECT_EQ(one.trainer->step().loss, three.trainer->step().loss);
  }
  EXPECT_EQ(one.values(), three.values());
}

TEST(Trainer, AccumulatedBatchesAreOneLargeBatch) {
  TrainerOptions accumulated = small_options();
  accumulated.batch_size = 1;
  accumulated.gradient_accumulation_steps = 4;
  Fixture large, small(accumulated);
  for (int step = 0; step < 4; ++step) {
    const StepMetrics a = large.trainer->step();
    const StepMetrics b = small.trainer->step();
    // The order of sums differs: some roundings of values near 1.
    EXPECT_FALSE(!(std::abs(a.loss - b.loss) <= 1e-5)) << a.loss << ", " << b.loss;
    EXPECT_FALSE(!(std::abs(a.gradient_norm - b.gradient_norm) <= 1e-4 * a.gradient_norm));
    EXPECT_EQ(a.tokens, b.tokens);
  }
}

TEST(Trainer, BatchesWithoutLabelsAreSkipped) {
  Fixture fixture;
  fixture.train.uncounted = FlawedSource::kAll;
  const std::vector<float> before = fixture.values();
  const StepMetrics metrics = fixture.trainer->step();
  EXPECT_TRUE(metrics.skipped);
  EXPECT_EQ(fixture.values(), before);
  EXPECT_EQ(fixture.trainer->state().step, 1);
  EXPECT_EQ(fixture.trainer->state().optimizer_steps, 0);
  fixture.train.uncounted = -1;
  EXPECT_FALSE(fixture.trainer->step().skipped);
  EXPECT_EQ(fixture.trainer->state().optimizer_steps, 1);
}

TEST(Trainer, LabelsOutOfRangeNameTheStep) {
  TrainerOptions options = small_options();
  options.batch_size = 10;  // every example
  Fixture fixture(options);
  fixture.trainer->step();
  fixture.train.mislabelled = 7;
  const std::vector<float> before = fixture.values();
  EXPECT_THAT(refusal([&] { fixture.trainer->step(); }),
              AllOf(HasSubstr("step 2: "), HasSubstr("got 19")));
  EXPECT_EQ(fixture.values(), before);
}

TEST(Trainer, NanStopsWithStepAndLayer) {
  Fixture fixture;
  fixture.trainer->step();
  const ParameterSlot* slot = fixture.model.layout().find("model.layers.1.mlp.down_proj.weight");
  fixture.model.values()[static_cast<std::size_t>(slot->offset)] =
      std::numeric_limits<float>::quiet_NaN();
  fixture.model.update();
  EXPECT_THAT(refusal([&] { fixture.trainer->step(); }),
              AllOf(HasSubstr("step 2: "), HasSubstr("layer 1")));
}

TEST(Trainer, SpikesStopTheRun) {
  TrainerOptions options = small_options();
  options.max_steps = options.schedule.total_steps = 100;
  options.spike_factor = 2;
  Fixture fixture(options);
  for (int step = 0; step < 40; ++step) fixture.trainer->step();
  for (float& value : fixture.model.values()) value *= 5;
  fixture.model.update();
  const std::vector<float> before = fixture.values();
  EXPECT_THAT(refusal([&] { fixture.trainer->step(); }),
              AllOf(HasSubstr("step 41: expected a loss of at most 2.0 times its running mean"),
                    HasSubstr("the largest gradient is that of ")));
  EXPECT_EQ(fixture.values(), before) << "the step is not taken";
}

TEST(Trainer, KeepsTheBestByValidationLoss) {
  const TestDirectory scratch;
  TrainerOptions options = small_options();
  options.eval_steps = 1;
  options.save_steps = 0;
  options.save_total_limit = 1;
  Fixture fixture(options);
  ASSERT_TRUE(fixture.run(scratch.path()));
  const RunDirectory directory(scratch.path());
  const auto newest = directory.newest({});
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->state.step, 8);
  ASSERT_TRUE(newest->state.best_metric.has_value());
  EXPECT_TRUE(fs::exists(scratch.path() / "best" / "model.safetensors"));
}

TEST(Trainer, KeepsTheBestByTheMeasureThatIsNamed) {
  const TestDirectory scratch;
  TrainerOptions options = small_options();
  options.eval_steps = 2;
  options.best_metric = "f1";
  Fixture fixture(options);
  fixture.valid.values = {0.25, 0.75, 0.5, 0.75};  // the loss falls all the time
  ASSERT_TRUE(fixture.run(scratch.path()));
  const auto newest = RunDirectory(scratch.path()).newest({});
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->state.best_metric, 0.75);
  EXPECT_EQ(newest->state.best_step, 4);
  EXPECT_EQ(fs::read_symlink(scratch.path() / "best"), "checkpoint-4");

  const TestDirectory other;
  options.best_metric = "recall";
  Fixture without(options);
  without.valid.values = {1};
  EXPECT_THAT(
      refusal([&] { without.run(other.path()); }),
      HasSubstr("checkpoints.best_metric: expected what this evaluation gives, got recall"));
}

TEST(TrainerOptions, StepsFollowFromEpochs) {
  Recipe recipe;
  recipe.data.kind = DataKind::text;
  recipe.training.num_train_epochs = 2.5;
  recipe.training.batch_size = 4;
  recipe.training.gradient_accumulation_steps = 2;
  recipe.schedule.warmup_ratio = 0.1;
  const TrainerOptions options = trainer_options(recipe, 101);
  EXPECT_EQ(options.max_steps, 32);  // ceil(252.5 / 8)
  EXPECT_EQ(options.schedule.total_steps, 32);
  EXPECT_EQ(options.schedule.warmup_steps, 4);
  EXPECT_EQ(options.spike_factor, 3.0);
  recipe.training.max_steps = 7;
  recipe.schedule.warmup_steps = 2;
  EXPECT_EQ(trainer_options(recipe, 101).max_steps, 7);
  EXPECT_EQ(trainer_options(recipe, 101).schedule.warmup_steps, 2);
  recipe.training.max_steps = 0;
  // With other batches from step 10 on: 172.5 examples are left.
  TrainerState done;
  done.step = 10;
  done.examples = 80;
  EXPECT_EQ(trainer_options(recipe, 101, done).max_steps, 32);
  recipe.training.batch_size = 2;
  EXPECT_EQ(trainer_options(recipe, 101, done).max_steps, 10 + 44);
  EXPECT_THAT(refusal([&] { trainer_options(recipe, 0); }), HasSubstr("num_train_epochs"));
}

TEST(MetricsFile, DropsLaterAndTornLines) {
  const TestDirectory scratch;
  const fs::path path = scratch.write("metrics.jsonl",
                                      R"({"step":1}
{"step":2}
{"step":2,"eval_loss":1}
nonsense
{"step":3}
{"ste)");
  {
    MetricsFile metrics(path, 2, 2);
    metrics.add(R"({"step":3,"again":1})");
  }
  EXPECT_EQ(read_whole_file(path),
            R"({"step":1}
{"step":2}
{"step":2,"eval_loss":1}
{"step":3,"again":1}
)");
  { const MetricsFile metrics(path, 2, 1); }
  EXPECT_EQ(read_whole_file(path), R"({"step":1}
{"step":2}
)") << "the evaluation of step 2 is to come again";
  { const MetricsFile metrics(path, 0, 0); }
  EXPECT_EQ(read_whole_file(path), "");
}

}  // namespace
}  // namespace diffllama
