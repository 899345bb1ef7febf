#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/progress.h"
#include "cli/recipe_options.h"
#include "cli/task_commands.h"
#include "cli/validators.h"
#include "diffllama/error.h"
#include "diffllama/files.h"
#include "diffllama/training.h"

namespace diffllama::cli {
namespace {

struct EvaluateCommand {
  EvaluateCommand() { model.compute = ComputeType::float32; }

  ModelOptions model;
  RecipeOptions recipe;
  std::string predictions;
  bool json = false;
};

void print_json(const Evaluation& evaluation) {
  nlohmann::ordered_json line = {{"examples", evaluation.examples}};
  if (evaluation.windows) line["windows"] = *evaluation.windows;
  line["loss"] = evaluation.loss;
  for (const Measure& measure : evaluation.measures) line[measure.name] = measure.value;
  if (evaluation.confusion) {
    line["confusion_matrix"] = {{"labels", evaluation.confusion->labels},
                                {"counts", evaluation.confusion->counts}};
  }
  std::cout << line.dump() << '\n';
}

// A row for each label, a column for each prediction.
void print_confusion(const ConfusionMatrix& confusion) {
  std::cout << "\nlabels by row, predictions by column\n";
  std::size_t width = 0;
  for (const std::string& label : confusion.labels) width = std::max(width, label.size());
  const auto cell = static_cast<int>(width + 1);
  std::cout << std::string(width, ' ');
  for (const std::string& label : confusion.labels) std::cout << std::setw(cell) << label;
  std::cout << '\n';
  for (std::size_t row = 0; row < confusion.labels.size(); ++row) {
    std::cout << std::left << std::setw(static_cast<int>(width)) << confusion.labels[row]
              << std::right;
    for (const std::int64_t count : confusion.counts[row]) std::cout << std::setw(cell) << count;
    std::cout << '\n';
  }
}

void print_text(const Evaluation& evaluation) {
  constexpr std::size_t kMostClasses = 20;  // of a matrix that fits a terminal
  std::cout << "examples " << evaluation.examples << '\n';
  if (evaluation.windows) std::cout << "windows " << *evaluation.windows << '\n';
  std::cout << "loss " << std::setprecision(6) << evaluation.loss << '\n';
  for (const Measure& measure : evaluation.measures) {
    std::cout << measure.name << ' ' << measure.value << '\n';
  }
  if (evaluation.confusion && evaluation.confusion->labels.size() <= kMostClasses) {
    print_confusion(*evaluation.confusion);
  }
}

void run(const EvaluateCommand& command) {
  const std::string recipe = recipe_of(command.recipe);
  EvaluateOptions options;
  options.load = load_options(command.model);
  options.predictions = command.predictions;
  if (!command.predictions.empty()) {
    refuse_overwriting(command.predictions, {command.recipe.file});
  }
  std::unique_ptr<Progress> progress;
  options.on_progress = [&](std::int64_t done, std::int64_t examples) {
    if (!progress) {
      progress = std::make_unique<Progress>(static_cast<std::uint64_t>(examples), "examples");
    }
    progress->update(static_cast<std::uint64_t>(done), done);
  };
  const Evaluation evaluation = evaluate(model_path(command.model), recipe, options);
  progress.reset();
  if (command.json) {
    print_json(evaluation);
  } else {
    print_text(evaluation);
  }
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "evaluate",
      "Loss and measures of a model on labelled data, as train has it: accuracy, macro F1, "
      "Matthews, Pearson, Spearman, exact match, entity F1, perplexity, bits a byte, by the kind "
      "of data");
  const auto options = std::make_shared<EvaluateCommand>();
  add_model_options(*command, options->model);
  add_recipe_options(*command, options->recipe,
                     "JSON recipe as train takes it; its sections data and evaluation count");
  add_path_option(*command, "--predictions", options->predictions,
                  "File that gets a line of JSON for each prediction");
  command->add_flag("--json", options->json,
                    "One object: examples, loss, the measures and confusion_matrix; of squad "
                    "windows, too");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
