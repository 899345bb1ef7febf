#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/error.h"
#include "diffllama/model.h"

namespace [[gnu::visibility("default")]] diffllama {

/// Numbers went wrong: a loss or gradient that is not finite, or a spike of the loss. Names step
/// and layer. The weights are those before the step; the checkpoints are whole.
class TrainingError : public Error {
 public:
  using Error::Error;
};

// Everything that a training run follows from is a recipe: the text of a JSON object of sections
// (docs/training.md), in which what is absent has its default.

/// One field of a recipe.
struct RecipeField {
  std::string name;           // "optimizer.learning_rate"
  std::string default_value;  // JSON
  std::string help;
};
/// All of them, in the order in which complete_recipe writes them.
std::vector<RecipeField> recipe_fields();

/// The whole recipe, defaults included. Unknown names are refused with the nearest known one.
/// Throws FormatError, ConfigError "WHERE: SECTION.FIELD: expected ..., got ...".
std::string complete_recipe(std::string_view recipe, const std::string& where = "recipe");

/// The whole recipe with one field set, "optimizer.learning_rate" to "1e-3": JSON, or plain text
/// where the field takes text; a list also takes one text. "lora" takes null. Throws ConfigError.
std::string set_recipe_field(std::string_view recipe, const std::string& name,
                             const std::string& value);

/// Throws ConfigError when fields are missing or do not fit together.
void validate_recipe(std::string_view recipe, const std::string& where = "recipe");

/// What may go wrong in a layer, seen on the way. RMS: of what enters the per-head norm of
/// differential attention, over tokens and heads; 0 in a Llama.
struct LayerWatch {
  float lambda = 0;
  float rms = 0;  // mean
  float smallest_rms = 0;
  bool finite = true;  // the residual stream after the layer
};

/// What one step of training shows.
struct StepMetrics {
  std::int64_t step = 0;  // from 1
  double epoch = 0;       // passes through the data so far
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  std::int64_t tokens = 0;   // so far
  double tokens_per_second = 0;
  std::optional<double> mfu;  // share of the machine's peak; where that is known
  bool skipped = false;       // no label counted: nothing was learned
  std::vector<LayerWatch> layers;
};

/// What predictions are measured by (docs/tasks.md): "accuracy", "macro_f1", "exact_match", ...
struct Measure {
  std::string name;
  double value = 0;
};

/// counts[i][j]: how often label i was predicted to be j.
struct ConfusionMatrix {
  std::vector<std::string> labels;
  std::vector<std::vector<std::int64_t>> counts;
};

/// Of some data.
struct Evaluation {
  std::int64_t examples = 0;            // of squad questions
  std::optional<std::int64_t> windows;  // squad: into which these are cut, each with its loss
  double loss = 0;                      // the mean over labels that count
  std::vector<Measure> measures;
  std::optional<ConfusionMatrix> confusion;  // classification, one label of many
};

/// Of the validation data.
struct EvaluationMetrics {
  std::int64_t step = 0;
  double loss = 0;
  std::optional<double> accuracy;  // classification; among the measures too
  std::vector<Measure> measures;
};

/// What a run is, once model and data are there.
struct TrainingFacts {
  std::int64_t parameters = 0;  // of the model, an adapter's included
  std::int64_t trained = 0;     // of them
  std::int64_t examples = 0, validation_examples = 0;
  std::int64_t max_steps = 0;
  std::int64_t first_step = 0, first_tokens = 0;  // done before, by the run that is resumed
};

struct TrainingOptions {
  /// Goes on from the newest whole checkpoint of checkpoints.output_dir, or begins where there is
  /// none. Without it a directory that has checkpoints is refused.
  bool resume = false;
  int threads = 0;  // 0: one per core; never changes a result
  /// Measures first what the machine can do, which takes a moment: StepMetrics::mfu.
  bool measure_peak = true;

  // What is told and asked while it runs, by the thread that trains; each may be absent.
  WarningHandler warn;                             // absent: stderr
  std::function<void(const std::string&)> notice;  // one line for people
  /// While a tokenizer is trained: bytes read, bytes of all (0: unknown), texts.
  std::function<void(std::uint64_t, std::uint64_t, std::int64_t)> on_texts;
  /// While text is tokenised: bytes done, bytes of all (0: unknown), tokens.
  std::function<void(std::uint64_t, std::uint64_t, std::int64_t)> on_tokens;
  std::function<void(const TrainingFacts&)> on_start;
  std::function<void(const StepMetrics&)> on_step;
  std::function<void(const EvaluationMetrics&)> on_evaluation;
  std::function<void(const std::filesystem::path& checkpoint)> on_save;
  /// Asked before each step and between the batches of an evaluation: save and stop?
  std::function<bool()> stop_requested;
};

/// How a run ended.
struct TrainingEnd {
  bool finished = false;             // false: it was asked to stop, and saved
  std::filesystem::path checkpoint;  // its last; empty where it has none
};

struct EvaluateOptions {
  LoadOptions load;  // how the model is opened, an adapter with it
  /// A file that gets a line of JSON for each prediction; empty: none.
  std::filesystem::path predictions;
  std::function<void(std::int64_t done, std::int64_t examples)> on_progress;
};

/// Loss and measures of a model on data.valid of a recipe, of which its section data counts, and
/// evaluation. Throws IoError, FormatError, ConfigError, InvalidArgument.
Evaluation evaluate(const std::filesystem::path& model, std::string_view recipe,
                    const EvaluateOptions& options = {});

/// Does what a recipe says: model, data, training, checkpoints, metrics.jsonl and recipe.json in
/// checkpoints.output_dir. Throws IoError, FormatError, ConfigError, InvalidArgument,
/// TrainingError; ConfigError also where a run that is resumed had another model.
TrainingEnd train(std::string_view recipe, const TrainingOptions& options = {});

/// How a comparison ended.
struct ComparisonEnd {
  bool finished = false;        // false: it was asked to stop; the same call goes on
  std::filesystem::path table;  // compare.md, beside compare.json and compare.svg
};

/// Trains several architectures on equal terms: `recipe` with the fields of each of the members
/// that `compare` names, for each seed. Initial values are drawn by the tensors' names, so that
/// tensors which members share begin with the same bytes, and batches follow from the seed alone.
/// `compare` is the text of a JSON object (docs/training.md "Comparing architectures"). What an
/// earlier call did is not done again. Throws what train() does.
ComparisonEnd compare_training(std::string_view recipe, std::string_view compare,
                               const TrainingOptions& options = {});

}  // namespace diffllama
