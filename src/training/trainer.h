#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "diffllama/training.h"
#include "training/data/example_source.h"
#include "training/metrics.h"
#include "training/optimizer.h"
#include "training/recipe.h"
#include "training/run_directory.h"
#include "training/schedule.h"
#include "training/training_model.h"

namespace diffllama {

struct TrainerOptions {
  std::int64_t max_steps = 0;
  std::int64_t batch_size = 8, gradient_accumulation_steps = 1, eval_batch_size = 8;
  std::uint64_t seed = 0;
  double max_grad_norm = 1.0;  // 0: no clipping
  bool recompute_activations = false;
  Schedule schedule;
  AdamW::Options adam;
  std::int64_t eval_steps = 0, save_steps = 0, save_total_limit = 0;  // 0: at the end; 0: all
  bool save_best = true;
  std::string best_metric = "loss";
  std::int64_t logging_steps = 1;
  double spike_factor = 0;  // 0: no alarm
  std::int64_t lambda_warmup_steps = 0;
  /// Operations that a token costs, and those that the machine can do in a second; either 0: no
  /// mfu.
  double operations_per_token = 0, peak_operations = 0;
  /// Are the master values stored beside the model, as they must be where it is stored in another
  /// type?
  bool save_values = true;
  std::string recipe = "{}";  // kept in the checkpoints
};

/// Of a recipe, with `examples` in an epoch; `done` is what a run that goes on has behind it, also
/// with batches of another size. Throws ConfigError for fewer steps than one.
TrainerOptions trainer_options(const Recipe& recipe, std::int64_t examples,
                               const TrainerState& done = {});

/// What the trainer tells and asks; each may be absent, but for write_model.
struct TrainerHooks {
  std::function<void(const std::filesystem::path& directory)> write_model;  // CheckpointContent's
  std::function<void(const StepMetrics&)> on_step;
  std::function<void(const EvaluationMetrics&)> on_evaluation;
  std::function<void(const std::filesystem::path& checkpoint)> on_save;
  /// Asked before each step and between the batches of an evaluation: save and stop?
  std::function<bool()> stop_requested;
};

/// The loop of training. Every step is a function of the options, the data and the state alone.
class Trainer {
 public:
  /// All must outlive it; `valid` may be null.
  Trainer(TrainingModel& model, const ExampleSource& train, const ExampleSource* valid,
          TrainerOptions options, TrainerHooks hooks);

  /// Goes on from a checkpoint. Throws IoError, FormatError.
  void resume(const SavedCheckpoint& checkpoint);
  const TrainerState& state() const { return state_; }

  /// Trains to max_steps, saving on the way and at the end, and evaluates what an earlier run was
  /// stopped before; false when it was asked to stop and has saved. A step is saved before it is
  /// evaluated. Throws TrainingError, IoError, and what the model throws of bad input, with the
  /// step.
  bool run(const RunDirectory& directory, MetricsFile& metrics);

  /// One step: no saving, no evaluation.
  StepMetrics step();
  /// Loss over the whole of `valid`, weighted by counted labels; nothing when it was asked to stop.
  std::optional<EvaluationMetrics> evaluate() const;

 private:
  struct Batches;
  Batches batches_of_step() const;
  double add_gradients(const Batches& batches, StepMetrics& metrics);
  void check_layers(const GradientResult& result) const;
  void check_step(double loss, double norm);
  bool stops() const { return hooks_.stop_requested && hooks_.stop_requested(); }
  bool stop(const RunDirectory& directory);
  void save(const RunDirectory& directory);
  bool evaluation_is_due() const;
  bool evaluate_step(const RunDirectory& directory, MetricsFile& metrics);
  bool update_best(const EvaluationMetrics& evaluation);
  void log(StepMetrics done, double seconds, MetricsFile& metrics);
  std::string step_name() const;
  void warm_lambda_up();

  TrainingModel& model_;
  const ExampleSource& train_;
  const ExampleSource* valid_;
  TrainerOptions options_;
  TrainerHooks hooks_;
  AdamW optimizer_;
  TrainerState state_;
  std::int64_t saved_step_ = 0;
  // Of the steps since the last line of metrics.
  double logged_seconds_ = 0;
  std::int64_t logged_tokens_ = 0;
  double peak_operations_;  // the best seen: what was measured, or what the run itself reached
};

}  // namespace diffllama
