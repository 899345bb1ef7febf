#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "tasks/machine_speed.h"
#include "training/session.h"

namespace diffllama::cli {
namespace {

struct TrainOptions {
  std::string recipe;
  std::vector<std::pair<std::string, std::string>> fields;  // in the order of the command line
  bool resume = false;
  bool print_recipe = false;
  bool fields_help = false;
  int threads = 0;
};

// The signal that asked for an end, 0 before. A handler can do no more than note it, and reaches
// nothing but globals. NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
volatile std::sig_atomic_t stop_signal = 0;

extern "C" void note_signal(int signal) {
  stop_signal = signal;
  std::signal(signal, SIG_DFL);  // a second one ends the program at once
}

Recipe read_recipe(const TrainOptions& options) {
  Recipe recipe;
  if (!options.recipe.empty()) {
    const MappedFile file(options.recipe);
    recipe = parse_recipe({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                          options.recipe);
  }
  for (const auto& [name, value] : options.fields) set_recipe_field(recipe, name, value);
  validate(recipe, options.recipe.empty() ? "recipe" : options.recipe);
  return recipe;
}

void print_fields() {
  for (const RecipeField& field : recipe_fields()) {
    std::cout << field.name << " = " << field.default_value << "\n    " << field.help << '\n';
  }
}

double measure_peak(ComputeType compute, const Parallel& parallel) {
  const bool half = compute == ComputeType::bfloat16;
  return ProductPeak(half ? PanelFormat::bfloat16 : PanelFormat::float32,
                     half ? ProductType::bfloat16 : ProductType::float32, parallel)
      .measure();
}

std::string short_number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// What a run shows on standard error.
class Display {
 public:
  void start(const SessionFacts& facts) {
    facts_ = facts;
    say(std::to_string(facts.parameters) + " parameters, " + std::to_string(facts.trained) +
        " trained; " + std::to_string(facts.examples) + " examples, " +
        std::to_string(facts.validation_examples) + " to validate; steps " +
        std::to_string(facts.first_step + 1) + " to " + std::to_string(facts.max_steps));
    progress_.emplace(static_cast<std::uint64_t>(facts.max_steps - facts.first_step), "tokens");
  }
  void step(const StepMetrics& metrics) {
    std::string note =
        "step " + std::to_string(metrics.step) + ", loss " + short_number("%.4f", metrics.loss);
    if (metrics.mfu) note += ", " + short_number("%.0f", 100 * *metrics.mfu) + " % of peak";
    progress_->update(static_cast<std::uint64_t>(metrics.step - facts_.first_step),
                      metrics.tokens - facts_.first_tokens, note);
  }
  void evaluation(const EvaluationMetrics& metrics) {
    std::string line = "step " + std::to_string(metrics.step) + ": validation loss " +
                       short_number("%.4f", metrics.loss);
    if (metrics.accuracy) line += ", accuracy " + short_number("%.4f", *metrics.accuracy);
    say(line);
  }
  void say(const std::string& text) {
    if (progress_) progress_->clear();
    print_line(text);
  }
  void end() { progress_.reset(); }

 private:
  SessionFacts facts_;
  std::optional<Progress> progress_;
};

void run(const TrainOptions& options) {
  if (options.fields_help) return print_fields();
  const Recipe recipe = read_recipe(options);
  if (options.print_recipe) {
    std::cout << write_recipe(recipe);
    return;
  }
  Display display;
  std::unique_ptr<Progress> tokenizing;
  SessionOptions session;
  session.resume = options.resume;
  session.threads = options.threads;
  session.measure_peak = measure_peak;
  session.warn = [&](const std::string& text) { display.say("warning: " + text); };
  session.notice = [&](const std::string& text) { display.say(text); };
  session.on_tokens = [&](std::uint64_t done, std::uint64_t total, std::int64_t tokens) {
    if (!tokenizing) tokenizing = std::make_unique<Progress>(total, "tokens tokenised");
    tokenizing->update(done, tokens);
    if (done == total) tokenizing.reset();
  };
  session.on_start = [&](const SessionFacts& facts) {
    tokenizing.reset();
    display.start(facts);
  };
  session.hooks.on_step = [&](const StepMetrics& metrics) { display.step(metrics); };
  session.hooks.on_evaluation = [&](const EvaluationMetrics& metrics) {
    display.evaluation(metrics);
  };
  std::string last;
  session.hooks.on_save = [&](const std::filesystem::path& checkpoint) {
    last = checkpoint.string();
  };
  session.hooks.stop_requested = [] { return stop_signal != 0; };
  std::signal(SIGINT, note_signal);
  std::signal(SIGTERM, note_signal);
  const bool finished = run_training(recipe, session);
  display.end();
  if (finished) {
    print_line("done: " + recipe.checkpoints.output_dir + "/last");
    return;
  }
  const std::string& output_dir = recipe.checkpoints.output_dir;
  print_line("stopped" + (last.empty() ? "" : ", saved " + last) + "; diffllama train " +
             output_dir + "/recipe.json --resume goes on");
  throw ExitStatus{128 + static_cast<int>(stop_signal)};
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "train",
      "Trains a model as a JSON recipe says (docs/training.md): from the beginning or from a "
      "checkpoint, for language modelling, classification, question answering or tagging. Ctrl-C "
      "saves a checkpoint and stops with status 130");
  const auto options = std::make_shared<TrainOptions>();
  command->add_option("RECIPE", options->recipe,
                      "JSON; a field that is absent has its default, --fields lists them");
  command
      ->add_option_function<std::vector<std::string>>(
          "--set",
          [options](const std::vector<std::string>& settings) {
            for (const std::string& setting : settings) {
              const auto equals = setting.find('=');
              options->fields.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
            }
          },
          "FIELD=VALUE sets a field of the recipe: --set optimizer.learning_rate=1e-3. May come "
          "several times")
      ->check([](const std::string& setting) {
        return setting.find('=') == std::string::npos
                   ? "--set: expected FIELD=VALUE, got " + setting
                   : std::string();
      })
      ->type_name("FIELD=VALUE")
      ->allow_extra_args(false);
  const struct {
    const char* option;
    const char* field;
  } direct[] = {{"-m,--model", "model.from"},
                {"-o,--output-dir", "checkpoints.output_dir"},
                {"--learning-rate", "optimizer.learning_rate"},
                {"--max-steps", "training.max_steps"},
                {"--num-train-epochs", "training.num_train_epochs"},
                {"--batch-size", "training.batch_size"},
                {"--dtype", "training.dtype"},
                {"--seed", "training.seed"}};
  for (const auto& [option, field] : direct) {
    command->add_option_function<std::string>(
        option,
        [options, name = std::string(field)](const std::string& value) {
          options->fields.emplace_back(name, value);
        },
        std::string("The recipe's ") + field);
  }
  command->add_flag("--resume", options->resume,
                    "Goes on from the newest whole checkpoint in the output directory, with the "
                    "same bits as a run that was never stopped; begins where there is none");
  command->add_flag("--print-recipe", options->print_recipe,
                    "Prints the whole recipe, defaults included, and does nothing");
  command->add_flag("--fields", options->fields_help, "Lists every field with its default");
  command
      ->add_option("-t,--threads", options->threads,
                   "Threads; 0: one per core. Never changes a result")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
