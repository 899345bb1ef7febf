#include "training/session.h"

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/save.h"
#include "config/json_fields.h"
#include "config/model_config.h"
#include "diffllama/checkpoint.h"
#include "diffllama/files.h"
#include "diffllama/tokenizer.h"
#include "training/data_sources.h"
#include "training/json_differences.h"
#include "training/parameter_groups.h"
#include "training/recipe_tokenizer.h"
#include "training/starting_model.h"
#include "training/trainer.h"
#include "training/training_model.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecipeFile = "recipe.json";
constexpr const char* kMetricsFile = "metrics.jsonl";

void notice(const TrainingOptions& options, const std::string& text) {
  if (options.notice) options.notice(text);
}

// Every file that the recipe names, and the directories that they lie in.
std::vector<fs::path> inputs_of(const Recipe& recipe) {
  std::vector<fs::path> inputs;
  const auto add = [&](const fs::path& file) {
    std::error_code error;
    for (fs::path path = fs::canonical(file, error); !error && path.has_relative_path();
         path = path.parent_path()) {
      inputs.push_back(path);
    }
  };
  for (const fs::path& model : {fs::path(recipe.model.from), fs::path(recipe.model.tokenizer)}) {
    std::error_code error;
    if (model.empty() || !fs::exists(model, error)) continue;
    for (const fs::path& file : model_files(find_model(model))) add(file);
  }
  if (recipe.model.config.is_string()) add(recipe.model.config.get<std::string>());
  for (const auto* files : {&recipe.data.train, &recipe.data.valid, &recipe.tokenizer.files}) {
    for (const std::string& file : *files) add(file);
  }
  return inputs;
}

// A run replaces its records and removes its older checkpoints: none of them may be read.
void refuse_overwriting_inputs(const Recipe& recipe, const RunDirectory& directory) {
  const std::vector<fs::path> inputs = inputs_of(recipe);
  for (const char* record : {kRecipeFile, kMetricsFile}) {
    refuse_overwriting(directory.path() / record, inputs);
  }
  if (recipe.tokenizer.type) {
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      refuse_overwriting(tokenizer_directory(recipe) / file, inputs);
    }
  }
  for (const std::int64_t step : directory.steps()) {
    refuse_overwriting(directory.checkpoint(step), inputs);
  }
}

// The classes that the data gives a new head.
std::vector<std::string> classes_of(const Recipe& recipe, const DataLabels& found) {
  if (found.names.size() == 1 && found.problem_type &&
      *found.problem_type != ProblemType::regression) {
    throw FormatError(recipe.data.train[0] +
                      ": label: expected two classes or more (or model.labels), got " +
                      json_excerpt(found.names[0]) + " alone");
  }
  return found.names;
}

// A run that goes on has its values already: nobody needs to hear which would be drawn.
StartingModel starting_model(const Recipe& recipe, bool resumed, const WarningHandler& warn) {
  const ModelSource source(recipe, warn);
  std::vector<std::string> names = source.labels();
  std::optional<ProblemType> problem_type = recipe.model.problem_type;
  if (names.empty() || !problem_type) {
    DataLabels found = data_labels(recipe, names, warn);
    if (names.empty()) names = classes_of(recipe, found);
    if (!problem_type) problem_type = found.problem_type;
  }
  const WarningHandler silent = [](const std::string&) {};
  return source.make(names, problem_type, resumed ? silent : warn);
}

// A checkpoint of another model may hold tensors of the same names and shapes.
void check_same_model(const fs::path& checkpoint, ModelConfig config) {
  const fs::path path = checkpoint / "config.json";
  std::error_code error;
  if (!fs::exists(path, error)) return;  // an adapter of an older version
  const auto silent = [](const std::string&) {};
  ModelConfig before = parse_model_config(read_file(path), path.string(), silent);
  for (ModelConfig* each : {&config, &before}) {
    each->dtype.reset();        // how weights are stored, which may change
    each->source_json.clear();  // holds what this engine does not read
  }
  const auto differences = json_differences(nlohmann::json::parse(write_model_config(config)),
                                            nlohmann::json::parse(write_model_config(before)));
  if (differences.empty()) return;
  const JsonDifference& first = differences.front();
  reject_field("model", first.name,
               "that of the checkpoint which --resume goes on from, " + first.before + " (" +
                   path.string() + ")",
               first.value);
}

// Ids past the embeddings would end the run at the first batch that holds one.
void check_vocabulary(const Tokenizer& tokenizer, const StartingModel& start) {
  if (tokenizer.vocab_size() <= start.config.vocab_size) return;
  reject_field("recipe", "model.tokenizer",
               "at most the " + std::to_string(start.config.vocab_size) +
                   " tokens of the model's vocab_size",
               std::to_string(tokenizer.vocab_size()) + " in " + start.tokenizer.string());
}

/// The adapter that a recipe asks for, with what PEFT trains beside it.
std::optional<LoraConfig> adapter_config(const Recipe& recipe, const ModelConfig& model) {
  if (!recipe.lora) return std::nullopt;
  LoraConfig lora = with_trained_head(*recipe.lora, model.architecture);
  if (lora.base_model_name_or_path.empty()) lora.base_model_name_or_path = recipe.model.from;
  const std::string embeddings = base_model_prefix(model.architecture) + "embed_tokens.weight";
  for (const TensorSpec& saved : lora_layout(lora, model, "lora").saved) {
    if (saved.name != embeddings || !model.tie_word_embeddings) continue;
    throw ConfigError(
        "lora.modules_to_save: expected modules that share no weight, got embed_tokens, which the "
        "tied lm_head shares");
  }
  return lora;
}

/// The parameters that a recipe trains; nothing: all, or an adapter.
std::optional<std::set<std::string>> trained_names(const Recipe& recipe,
                                                   const StartingModel& start) {
  const TrainingRecipe& training = recipe.training;
  if (recipe.lora || (training.train_only.empty() && training.freeze.empty())) return std::nullopt;
  std::vector<std::string> names;
  for (const auto& [name, parameter] : start.parameters) names.push_back(name);
  return trained_parameters(names, training.train_only, training.freeze);
}

void check_lambda_warmup(const Recipe& recipe, const ModelConfig& config) {
  if (recipe.training.lambda_warmup_steps == 0 || !config.dex.empty()) return;
  reject_field("recipe", "training.lambda_warmup_steps", "0 for a model without dex",
               std::to_string(recipe.training.lambda_warmup_steps));
}

/// Writes the model, or the adapter alone, and the files beside it.
auto model_writer(const TrainingModel& model, const StartingModel& start,
                  const std::optional<LoraConfig>& lora) {
  return [&model, &start, &lora](const fs::path& directory) {
    if (lora) {
      save_lora_adapter(directory, *lora, start.config, model.trained_tensors());
    } else {
      std::vector<TensorSource> tensors;
      for (const auto& [name, parameter] : model.parameters()) {
        tensors.push_back(
            rounded_tensor(name, *start.config.dtype, parameter.shape, parameter.read_row));
      }
      save_model_directory(directory, start.config, std::move(tensors));
    }
    for (const auto& [name, text] : start.files) write_file_atomically(directory / name, text);
  };
}

TrainingFacts facts_of(const TrainingModel& model, const DataSources& data, const Trainer& trainer,
                       std::int64_t max_steps) {
  TrainingFacts facts;
  for (const auto& [name, parameter] : model.parameters()) {
    facts.parameters += element_count(parameter.shape);
  }
  for (const ParameterSlot& slot : model.layout().slots()) {
    facts.trained += slot.size;
    if (!model.parameters().contains(slot.name)) facts.parameters += slot.size;
  }
  facts.examples = data.train->size();
  facts.validation_examples = data.valid ? data.valid->size() : 0;
  facts.first_step = trainer.state().step;
  facts.first_tokens = trainer.state().tokens;
  facts.max_steps = max_steps;
  return facts;
}

void note_differences(const Recipe& recipe, const SavedCheckpoint& checkpoint,
                      const TrainingOptions& options) {
  const Recipe before = parse_recipe(checkpoint.state.recipe, "the checkpoint's recipe");
  for (const std::string& difference : recipe_differences(recipe, before)) {
    notice(options, "changed since the checkpoint: " + difference);
  }
}

std::optional<SavedCheckpoint> checkpoint_to_resume(const RunDirectory& directory,
                                                    const TrainingOptions& options) {
  if (!options.resume) {
    if (!directory.steps().empty()) {
      throw IoError(directory.checkpoint(directory.steps().back()).string() +
                    ": expected an output directory without checkpoints, or --resume");
    }
    return std::nullopt;
  }
  std::optional<SavedCheckpoint> checkpoint = directory.newest(options.warn);
  if (!checkpoint) {
    notice(options, directory.path().string() + " has no checkpoint yet: beginning at step 1");
  }
  return checkpoint;
}

// The recipe with the path of the tokenizer that it says to train; a run that goes on has one.
Recipe with_tokenizer(Recipe recipe, bool resumed, const TrainingOptions& options) {
  if (!recipe.tokenizer.type) return recipe;
  fs::path directory = tokenizer_directory(recipe);
  std::error_code error;
  if (!resumed || !fs::exists(directory / "tokenizer.json", error)) {
    const WarningHandler silent = [](const std::string&) {};
    const std::int64_t vocab_size = ModelSource(recipe, silent).config().vocab_size;
    directory = train_recipe_tokenizer(recipe, vocab_size, options.on_texts);
  }
  recipe.model.tokenizer = directory.string();
  return recipe;
}

}  // namespace

double operations_per_token(const ModelConfig& config, bool frozen) {
  double values = 0;
  const std::string embeddings = base_model_prefix(config.architecture) + "embed_tokens.weight";
  for (const TensorSpec& spec : tensor_specs(config)) {
    // A tied lm_head is listed, though not required: it is a product all the same.
    if (spec.shape.size() != 2 || spec.name == embeddings) continue;
    values += static_cast<double>(element_count(spec.shape));
  }
  return (frozen ? 4 : 6) * values;
}

TrainingEnd run_training(const Recipe& recipe, const TrainingOptions& options,
                         const PeakMeasurement& measure_peak) {
  validate(recipe, "recipe");
  const RunDirectory directory(recipe.checkpoints.output_dir);
  const std::optional<SavedCheckpoint> checkpoint = checkpoint_to_resume(directory, options);
  refuse_overwriting_inputs(recipe, directory);
  if (checkpoint) note_differences(recipe, *checkpoint, options);

  const Recipe carried_out = with_tokenizer(recipe, checkpoint.has_value(), options);
  const StartingModel start = starting_model(carried_out, checkpoint.has_value(), options.warn);
  if (checkpoint) check_same_model(checkpoint->path, start.config);
  check_lambda_warmup(recipe, start.config);
  const std::optional<LoraConfig> lora = adapter_config(recipe, start.config);
  TrainingModel model(start.config, start.parameters,
                      {.compute = recipe.training.dtype,
                       .threads = options.threads,
                       .lora = lora,
                       .lora_seed = static_cast<std::uint64_t>(recipe.training.seed),
                       .trained = trained_names(recipe, start)});
  const Tokenizer tokenizer = Tokenizer::from_pretrained(start.tokenizer, options.warn);
  check_vocabulary(tokenizer, start);
  const DataSources data = open_data(recipe, start.config, start.tokenizer, tokenizer,
                                     options.on_tokens, options.warn, model.parallel());

  TrainerOptions trainer_settings =
      trainer_options(recipe, data.train->size(), checkpoint ? checkpoint->state : TrainerState());
  trainer_settings.save_values = lora || *start.config.dtype != DType::float32;
  if (measure_peak) {
    trainer_settings.operations_per_token = operations_per_token(start.config, lora.has_value());
    trainer_settings.peak_operations = measure_peak(recipe.training.dtype, model.parallel());
  }
  TrainerHooks hooks = {.write_model = model_writer(model, start, lora),
                        .on_step = options.on_step,
                        .on_evaluation = options.on_evaluation,
                        .on_save = options.on_save,
                        .stop_requested = options.stop_requested};
  Trainer trainer(model, *data.train, data.valid.get(), trainer_settings, std::move(hooks));
  if (checkpoint) {
    trainer.resume(*checkpoint);
    notice(options, "resuming from " + checkpoint->path.string());
  }
  write_file_atomically(directory.path() / kRecipeFile, write_recipe(recipe));
  MetricsFile metrics(directory.path() / kMetricsFile, trainer.state().step,
                      trainer.state().evaluated_step);
  if (options.on_start) {
    options.on_start(facts_of(model, data, trainer, trainer_settings.max_steps));
  }
  TrainingEnd end;
  end.finished = trainer.run(directory, metrics);
  const fs::path last = directory.checkpoint(trainer.state().step);
  if (fs::exists(last)) end.checkpoint = last;
  return end;
}

}  // namespace diffllama
