#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "api/model.h"
#include "base/atomic_file.h"
#include "base/temporary.h"
#include "config/json_fields.h"
#include "diffllama/error.h"
#include "diffllama/files.h"
#include "diffllama/tokenizer.h"
#include "diffllama/training.h"
#include "training/data_sources.h"
#include "training/evaluator.h"
#include "training/recipe.h"

namespace diffllama {
namespace {

void require_head(const ModelConfig& config, Architecture wanted) {
  if (config.architecture == wanted) return;
  ModelConfig other = config;
  other.architecture = wanted;
  reject_field("recipe", "data.kind", "one for the model's " + config.class_name(),
               "one for " + other.class_name());
}

}  // namespace

Evaluation evaluate(const std::filesystem::path& model_path, std::string_view recipe_text,
                    const EvaluateOptions& options) {
  Recipe recipe = parse_recipe(recipe_text, "recipe");
  validate_evaluation(recipe, "recipe");
  if (!options.predictions.empty()) {
    refuse_overwriting(options.predictions, {recipe.data.valid.begin(), recipe.data.valid.end()});
  }
  const Model model = Model::from_pretrained(model_path, options.load);
  require_head(model.config(), architecture_for(*recipe.data.kind));
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path, options.load.warn);
  recipe.data.train.clear();
  std::optional<Temporary> shards;  // of language modelling, where nobody keeps them
  if (recipe.data.shard_dir.empty() && recipe.checkpoints.output_dir.empty()) {
    shards.emplace(std::filesystem::temp_directory_path() / "shards", Temporary::Kind::directory);
    recipe.data.shard_dir = shards->path().string();
  }
  const DataSources data = open_data(recipe, model.config(), model_path, tokenizer, /*progress=*/{},
                                     options.load.warn, model.impl().parallel);
  std::optional<AtomicFile> predictions;
  if (!options.predictions.empty()) predictions.emplace(options.predictions);
  EvaluatorOptions evaluator;
  evaluator.batch_size = recipe.evaluation.batch_size;
  if (predictions) {
    evaluator.sink = [&](const nlohmann::ordered_json& line) {
      predictions->write(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                         "\n");
    };
  }
  if (options.on_progress) {
    evaluator.progress = [&](std::int64_t done) { options.on_progress(done, data.valid->size()); };
  }
  const Parallel& parallel = model.impl().parallel;
  ForwardModel packed = model.impl().forward_model();
  packed.examples = HeadExamples::sequences;
  auto evaluation = evaluate_source(
      *data.valid, model.config(),
      [&](const ForwardInputs& inputs) { return run_forward(packed, inputs, nullptr, parallel); },
      evaluator);
  if (predictions) predictions->commit();
  return std::move(*evaluation);  // nobody asks it to stop
}

}  // namespace diffllama
