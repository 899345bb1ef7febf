#include "training/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/random.h"
#include "config/json_fields.h"
#include "training/data/shuffle.h"
#include "training/evaluator.h"
#include "training/optimizer_state.h"

namespace diffllama {
namespace {

// Keeps dropout apart from what else is drawn with the same seed.
constexpr std::uint64_t kDropoutStream = std::uint64_t{0x44} << 56;

// The running mean of the loss: how much of it stays at a step, and how many losses it needs before
// it can tell a spike.
constexpr double kMeanDecay = 0.98;
constexpr std::int64_t kMeanWarmup = 20;

// Of the batch that begins with this example of the run.
std::uint64_t dropout_seed(std::uint64_t seed, std::int64_t example) {
  const auto words = Random(seed, kDropoutStream).block(static_cast<std::uint64_t>(example));
  return static_cast<std::uint64_t>(words[0]) << 32 | words[1];
}

bool counts(const LossCount& count) { return count.first + count.second > 0; }

// Of several batches of a step: the mean RMS, the smallest, and whether all were finite.
void merge_layers(std::vector<LayerWatch>& all, const std::vector<LayerWatch>& layers,
                  std::int64_t before) {
  if (before == 0) {
    all = layers;
    return;
  }
  const auto n = static_cast<float>(before);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].rms = (all[i].rms * n + layers[i].rms) / (n + 1);
    all[i].smallest_rms = std::min(all[i].smallest_rms, layers[i].smallest_rms);
    all[i].finite = all[i].finite && layers[i].finite;
  }
}

bool is_due(std::int64_t step, std::int64_t every) { return every != 0 && step % every == 0; }

std::int64_t steps_of(const Recipe& recipe, std::int64_t examples, const TrainerState& done) {
  if (recipe.training.max_steps != 0) return recipe.training.max_steps;
  const double per_step = static_cast<double>(recipe.training.batch_size) *
                          static_cast<double>(recipe.training.gradient_accumulation_steps);
  const double all = recipe.training.num_train_epochs * static_cast<double>(examples);
  // With the batches that it began with a run has the steps that it would have had at once.
  const auto seen = static_cast<double>(done.examples);
  const auto before = static_cast<double>(done.step);
  const double steps = seen == before * per_step
                           ? std::ceil(all / per_step)
                           : before + std::max(0.0, std::ceil((all - seen) / per_step));
  if (!(steps >= 1 && steps <= 9007199254740992.0)) {
    throw ConfigError("training.num_train_epochs: expected 1 to 2^53 steps, got " +
                      number_text(steps));
  }
  return static_cast<std::int64_t>(steps);
}

}  // namespace

TrainerOptions trainer_options(const Recipe& recipe, std::int64_t examples,
                               const TrainerState& done) {
  TrainerOptions options;
  options.max_steps = steps_of(recipe, examples, done);
  options.batch_size = recipe.training.batch_size;
  options.gradient_accumulation_steps = recipe.training.gradient_accumulation_steps;
  options.eval_batch_size = recipe.evaluation.batch_size;
  options.seed = static_cast<std::uint64_t>(recipe.training.seed);
  options.max_grad_norm = recipe.training.max_grad_norm;
  options.recompute_activations = recipe.training.recompute_activations;
  const ScheduleRecipe& schedule = recipe.schedule;
  const auto share = static_cast<std::int64_t>(
      std::ceil(schedule.warmup_ratio * static_cast<double>(options.max_steps)));
  options.schedule = {.type = schedule.lr_scheduler_type,
                      .learning_rate = recipe.optimizer.learning_rate,
                      .warmup_steps = schedule.warmup_steps != 0 ? schedule.warmup_steps : share,
                      .total_steps = options.max_steps,
                      .min_lr_rate = schedule.min_lr_rate};
  options.adam = recipe.optimizer.adam;
  options.eval_steps = recipe.evaluation.eval_steps;
  options.save_steps = recipe.checkpoints.save_steps;
  options.save_total_limit = recipe.checkpoints.save_total_limit;
  options.save_best = recipe.checkpoints.save_best;
  options.best_metric = recipe.checkpoints.best_metric;
  options.logging_steps = recipe.metrics.logging_steps;
  options.spike_factor = recipe.spike_factor();
  options.lambda_warmup_steps = recipe.training.lambda_warmup_steps;
  if (options.lambda_warmup_steps > options.max_steps) {
    throw ConfigError("training.lambda_warmup_steps: expected at most the run's " +
                      std::to_string(options.max_steps) + " steps, got " +
                      std::to_string(options.lambda_warmup_steps));
  }
  options.recipe = write_recipe(recipe);
  return options;
}

/// The batches of one step, as the model takes them.
struct Trainer::Batches {
  std::vector<ForwardInputs> inputs;
  std::vector<LossCount> counts;
  LossCount total;
  std::int64_t examples = 0, tokens = 0;
};

Trainer::Trainer(TrainingModel& model, const ExampleSource& train, const ExampleSource* valid,
                 TrainerOptions options, TrainerHooks hooks)
    : model_(model),
      train_(train),
      valid_(valid),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      optimizer_(model.layout(), options_.adam),
      peak_operations_(options_.peak_operations) {
  state_.recipe = options_.recipe;
  warm_lambda_up();
}

// Before step s, from 0, DEX's lambda counts s / lambda_warmup_steps.
void Trainer::warm_lambda_up() {
  if (state_.step >= options_.lambda_warmup_steps) return model_.set_dex_scale(1);
  model_.set_dex_scale(static_cast<float>(static_cast<double>(state_.step) /
                                          static_cast<double>(options_.lambda_warmup_steps)));
}

void Trainer::resume(const SavedCheckpoint& checkpoint) {
  load_optimizer(checkpoint.path, model_.layout(), optimizer_, model_.values());
  model_.update();
  state_ = checkpoint.state;
  state_.recipe = options_.recipe;
  optimizer_.set_steps(state_.optimizer_steps);
  saved_step_ = state_.step;
  logged_tokens_ = state_.tokens;
  warm_lambda_up();
}

std::string Trainer::step_name() const { return "step " + std::to_string(state_.step + 1); }

Trainer::Batches Trainer::batches_of_step() const {
  Batches batches;
  std::vector<std::int64_t> examples(static_cast<std::size_t>(options_.batch_size));
  for (std::int64_t batch = 0; batch < options_.gradient_accumulation_steps; ++batch) {
    for (std::int64_t& example : examples) {
      example =
          shuffled_example(options_.seed, state_.examples + batches.examples++, train_.size());
      batches.tokens += train_.tokens(example);
    }
    batches.inputs.push_back(train_.collate(examples));
    batches.counts.push_back(count_labels(model_.config(), batches.inputs.back()));
    batches.total += batches.counts.back();
  }
  return batches;
}

double Trainer::add_gradients(const Batches& batches, StepMetrics& metrics) {
  double loss = 0;
  std::int64_t done = 0;
  for (std::size_t i = 0; i < batches.inputs.size(); ++i) {
    if (!counts(batches.counts[i])) continue;
    const std::int64_t first = state_.examples + options_.batch_size * static_cast<std::int64_t>(i);
    const GradientResult result = model_.add_gradients(
        batches.inputs[i], {.denominator = batches.total,
                            .recompute_activations = options_.recompute_activations,
                            .dropout_seed = dropout_seed(options_.seed, first)});
    check_layers(result);
    loss += result.loss;
    merge_layers(metrics.layers, result.layers, done++);
  }
  return loss;
}

void Trainer::check_layers(const GradientResult& result) const {
  for (std::size_t layer = 0; layer < result.layers.size(); ++layer) {
    const LayerWatch& watch = result.layers[layer];
    if (watch.finite) continue;
    throw TrainingError(step_name() + ": expected finite activations, got a NaN or infinity " +
                        "behind layer " + std::to_string(layer) + " (lambda " +
                        number_text(static_cast<double>(watch.lambda)) + ", RMS before the norm " +
                        number_text(static_cast<double>(watch.rms)) + ")");
  }
  if (!std::isfinite(result.loss)) {
    throw TrainingError(step_name() + ": expected a finite loss, got " + number_text(result.loss) +
                        " behind layers that are finite");
  }
}

// Gradients and loss of a step, before the weights change.
void Trainer::check_step(double loss, double norm) {
  const std::span<const float> gradients = model_.gradients();
  const auto of_slot = [&](const ParameterSlot& slot) {
    return gradient_norm(gradients.subspan(static_cast<std::size_t>(slot.offset),
                                           static_cast<std::size_t>(slot.size)),
                         model_.parallel());
  };
  if (!std::isfinite(norm)) {
    for (const ParameterSlot& slot : model_.layout().slots()) {
      const double slot_norm = of_slot(slot);
      if (std::isfinite(slot_norm)) continue;
      throw TrainingError(step_name() + ": expected finite gradients, got " +
                          number_text(slot_norm) + " as the norm of " + slot.name + "'s");
    }
    throw TrainingError(step_name() + ": expected a finite gradient norm, got " +
                        number_text(norm));
  }
  const double weight = 1 - std::pow(kMeanDecay, static_cast<double>(state_.mean_count));
  if (options_.spike_factor > 0 && state_.mean_count >= kMeanWarmup &&
      loss > options_.spike_factor * state_.mean_loss / weight) {
    const auto& slots = model_.layout().slots();
    const auto largest = std::ranges::max_element(slots, {}, of_slot);
    throw TrainingError(step_name() + ": expected a loss of at most " +
                        number_text(options_.spike_factor) + " times its running mean " +
                        number_text(state_.mean_loss / weight) + ", got " + number_text(loss) +
                        "; the largest gradient is that of " + largest->name +
                        " (metrics.spike_factor sets the limit)");
  }
  state_.mean_loss = kMeanDecay * state_.mean_loss + (1 - kMeanDecay) * loss;
  ++state_.mean_count;
}

StepMetrics Trainer::step() {
  StepMetrics metrics;
  try {
    const Batches batches = batches_of_step();
    metrics.learning_rate = options_.schedule.at(state_.step);
    metrics.skipped = !counts(batches.total);
    if (!metrics.skipped) {
      model_.zero_gradients();
      metrics.loss = add_gradients(batches, metrics);
      metrics.gradient_norm = gradient_norm(model_.gradients(), model_.parallel());
      check_step(metrics.loss, metrics.gradient_norm);
      optimizer_.step(metrics.learning_rate,
                      clip_scale(metrics.gradient_norm, options_.max_grad_norm), model_.gradients(),
                      model_.values(), model_.parallel());
      model_.update();
    }
    state_.examples += batches.examples;
    state_.tokens += batches.tokens;
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(step_name() + ": " + error.what());  // labels out of range, ...
  }
  ++state_.step;
  warm_lambda_up();
  state_.optimizer_steps = optimizer_.steps();
  metrics.step = state_.step;
  metrics.tokens = state_.tokens;
  metrics.epoch = static_cast<double>(state_.examples) / static_cast<double>(train_.size());
  return metrics;
}

std::optional<EvaluationMetrics> Trainer::evaluate() const {
  const auto evaluation = evaluate_source(
      *valid_, model_.config(), [&](const ForwardInputs& inputs) { return model_.forward(inputs); },
      {.batch_size = options_.eval_batch_size,
       .sink = {},
       .stop_requested = hooks_.stop_requested,
       .progress = {}});
  if (!evaluation) return std::nullopt;
  EvaluationMetrics metrics = {.step = state_.step,
                               .loss = evaluation->loss,
                               .accuracy = measure_value(*evaluation, "accuracy"),
                               .measures = evaluation->measures};
  return metrics;
}

bool Trainer::update_best(const EvaluationMetrics& evaluation) {
  const std::string& name = options_.best_metric;
  Evaluation measured;
  measured.loss = evaluation.loss;
  measured.measures = evaluation.measures;
  const std::optional<double> value = measure_value(measured, name);
  if (!value) {
    throw ConfigError("checkpoints.best_metric: expected what this evaluation gives, got " + name);
  }
  if (!options_.save_best || !std::isfinite(*value)) return false;
  if (state_.best_metric) {
    const double gain = *value - *state_.best_metric;
    if (lower_is_better(name) ? gain >= 0 : gain <= 0) return false;
  }
  state_.best_metric = *value;
  state_.best_step = state_.step;
  return true;
}

void Trainer::save(const RunDirectory& directory) {
  if (saved_step_ == state_.step) return;
  directory.save({.state = state_,
                  .write_model = hooks_.write_model,
                  .optimizer = optimizer_tensors(
                      model_.layout(), optimizer_,
                      options_.save_values ? model_.values() : std::span<const float>())},
                 options_.save_total_limit);
  saved_step_ = state_.step;
  if (hooks_.on_save) hooks_.on_save(directory.checkpoint(state_.step));
}

// The end of a run that was asked to stop.
bool Trainer::stop(const RunDirectory& directory) {
  if (state_.step > 0) save(directory);
  return false;
}

bool Trainer::evaluation_is_due() const {
  if (valid_ == nullptr || state_.step == 0 || state_.evaluated_step == state_.step) return false;
  return state_.step >= options_.max_steps || is_due(state_.step, options_.eval_steps);
}

// Evaluates the step that is done; false when it was asked to stop. A checkpoint that is there
// already gets to know the result.
bool Trainer::evaluate_step(const RunDirectory& directory, MetricsFile& metrics) {
  const std::optional<EvaluationMetrics> evaluation = evaluate();
  if (!evaluation) return false;
  metrics.add(to_json_line(*evaluation));
  if (hooks_.on_evaluation) hooks_.on_evaluation(*evaluation);
  state_.evaluated_step = state_.step;
  const bool best = update_best(*evaluation);
  if (saved_step_ == state_.step) {
    directory.update(state_, options_.save_total_limit);
  } else if (best) {
    save(directory);
  }
  return true;
}

// Tells of a step that took so long.
void Trainer::log(StepMetrics done, double seconds, MetricsFile& metrics) {
  logged_seconds_ += seconds;
  if (logged_seconds_ > 0) {
    done.tokens_per_second = static_cast<double>(state_.tokens - logged_tokens_) / logged_seconds_;
  }
  const double operations = options_.operations_per_token * done.tokens_per_second;
  if (operations > 0 && options_.peak_operations > 0) {
    // Other work slows the measurement down as it does the run.
    peak_operations_ = std::max(peak_operations_, operations);
    done.mfu = operations / peak_operations_;
  }
  if (hooks_.on_step) hooks_.on_step(done);
  if (state_.step < options_.max_steps && !is_due(state_.step, options_.logging_steps)) return;
  metrics.add(to_json_line(done));
  logged_seconds_ = 0;
  logged_tokens_ = state_.tokens;
}

bool Trainer::run(const RunDirectory& directory, MetricsFile& metrics) {
  using Clock = std::chrono::steady_clock;
  // What an earlier run was stopped before.
  if (state_.step > 0) directory.link_and_remove(state_, options_.save_total_limit);
  if (evaluation_is_due() && !evaluate_step(directory, metrics)) return stop(directory);
  while (state_.step < options_.max_steps) {
    if (stops()) return stop(directory);
    const auto start = Clock::now();
    const StepMetrics done = step();
    log(done, std::chrono::duration<double>(Clock::now() - start).count(), metrics);
    if (stops()) return stop(directory);
    const bool last = state_.step == options_.max_steps;
    if (last || is_due(state_.step, options_.save_steps)) save(directory);
    if (evaluation_is_due() && !evaluate_step(directory, metrics)) return stop(directory);
  }
  return true;
}

}  // namespace diffllama
