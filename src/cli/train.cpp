#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/regular_file.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "cli/recipe_options.h"
#include "cli/validators.h"
#include "diffllama/error.h"
#include "diffllama/files.h"
#include "diffllama/tensorboard.h"
#include "diffllama/training.h"

namespace diffllama::cli {
namespace {

struct TrainCommand {
  RecipeOptions recipe;
  bool resume = false;
  bool compare = false;
  bool print_recipe = false;
  bool fields_help = false;
  int threads = 0;
  std::string tensorboard;  // empty: none
};

// A handler reaches nothing but globals.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
volatile std::sig_atomic_t stop_signal = 0;  // the first that asked for an end
volatile std::sig_atomic_t training = 0;     // steps are taken: there is something to save
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

// Says what it does, at once. Before the first step the program dies of the signal; later the
// trainer stops at the next step, and further signals change nothing: what was learned is saved
// first.
extern "C" void note_signal(int signal) {
  constexpr std::string_view kNow = "\nstopping: there is nothing to save yet\n";
  constexpr std::string_view kSaving =
      "\nstopping: a checkpoint is saved when the step is done (kill -9 would lose the steps since "
      "the last one)\n";
  const int error = errno;
  const std::string_view text = training != 0 ? kSaving : kNow;
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  if (training == 0) clean_up_and_die(signal);
  if (stop_signal == 0) stop_signal = signal;
  errno = error;
}

void note_signals() {
  struct sigaction action {};
  action.sa_handler = note_signal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&action.sa_mask, signal);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    const bool nohup = signal == SIGHUP && before.sa_handler == SIG_IGN;
    if (!nohup) ::sigaction(signal, &action, nullptr);
  }
}

// The recipe.json of a run goes on in its own directory, which a path from elsewhere misses.
void check_own_directory(const std::filesystem::path& path, const std::string& output_dir) {
  const std::filesystem::path own = path.parent_path();
  std::error_code error;
  if (path.filename() != "recipe.json" || !exists(own / "metrics.jsonl", error)) return;
  if (equivalent(own.empty() ? "." : own, output_dir, error)) return;
  throw ConfigError(path.string() +
                    ": checkpoints.output_dir: expected the recipe's own directory " +
                    own.string() + " for --resume, got " + output_dir +
                    ", which is another from here; run it where it began, or give -o");
}

std::string output_dir_of(const std::string& recipe) {
  const nlohmann::json sections = nlohmann::json::parse(recipe);
  const nlohmann::json& directory = sections.at("checkpoints").at("output_dir");
  return directory.is_null() ? std::string() : directory.get<std::string>();
}

// `compare`: takes the section of that name; null where none is wanted.
std::string read_recipe(const TrainCommand& options, std::string* compare = nullptr) {
  const std::string& file = options.recipe.file;
  std::string recipe = recipe_of(options.recipe, compare);
  if (compare != nullptr) return recipe;  // each member's is checked on its own
  const bool output_dir = std::ranges::any_of(options.recipe.fields, [](const auto& field) {
    return field.first == "checkpoints.output_dir";
  });
  if (options.resume && !output_dir) check_own_directory(file, output_dir_of(recipe));
  validate_recipe(recipe, file.empty() ? "recipe" : file);
  // A run writes its whole recipe there. One that goes on reads what it wrote itself.
  if (!options.resume && !options.print_recipe) {
    refuse_overwriting(std::filesystem::path(output_dir_of(recipe)) / "recipe.json", {file});
  }
  return recipe;
}

void print_fields() {
  for (const RecipeField& field : recipe_fields()) {
    std::cout << field.name << " = " << field.default_value << "\n    " << field.help << '\n';
  }
}

std::string short_number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string steps_text(const TrainingFacts& facts) {
  if (facts.first_step < facts.max_steps) {
    return "steps " + std::to_string(facts.first_step + 1) + " to " +
           std::to_string(facts.max_steps);
  }
  return "no step is left: " + std::to_string(facts.first_step) + " are done, of " +
         std::to_string(facts.max_steps);
}

/// What a run shows on standard error.
class Display {
 public:
  void start(const TrainingFacts& facts) {
    facts_ = facts;
    say(std::to_string(facts.parameters) + " parameters, " + std::to_string(facts.trained) +
        " trained; " + std::to_string(facts.examples) + " examples, " +
        std::to_string(facts.validation_examples) + " to validate; " + steps_text(facts));
    const std::int64_t left = std::max<std::int64_t>(0, facts.max_steps - facts.first_step);
    progress_.emplace(static_cast<std::uint64_t>(left), "tokens");
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
    for (const Measure& measure : metrics.measures) {
      line += ", " + measure.name + " " + short_number("%.4f", measure.value);
    }
    say(line);
  }
  void say(const std::string& text) {
    if (progress_) progress_->clear();
    print_line(text);
  }
  void end() { progress_.reset(); }

 private:
  TrainingFacts facts_;
  std::optional<Progress> progress_;
};

void end_comparison(const ComparisonEnd& end, Display& display) {
  display.end();
  if (!end.finished) {
    print_line("stopped; the same command goes on");
    throw ExitStatus{128 + static_cast<int>(stop_signal)};
  }
  std::cout << read_file(end.table);
}

void run(const TrainCommand& options) {
  if (options.fields_help) return print_fields();
  std::string compare;
  const std::string recipe = read_recipe(options, options.compare ? &compare : nullptr);
  if (options.print_recipe) {
    std::cout << recipe;
    return;
  }
  Display display;
  std::unique_ptr<Progress> reading, tokenizing;  // texts before the first step
  TrainingOptions session;
  session.resume = options.resume;
  session.threads = options.threads;
  session.warn = [&](const std::string& text) { display.say("warning: " + text); };
  session.notice = [&](const std::string& text) { display.say(text); };
  session.on_texts = [&](std::uint64_t done, std::uint64_t total, std::int64_t texts) {
    if (!reading) reading = std::make_unique<Progress>(total, "texts for the tokenizer");
    reading->update(done, texts);
  };
  session.on_tokens = [&](std::uint64_t done, std::uint64_t total, std::int64_t tokens) {
    reading.reset();
    if (!tokenizing) tokenizing = std::make_unique<Progress>(total, "tokens tokenised");
    tokenizing->update(done, tokens);
    if (done == total) tokenizing.reset();
  };
  session.on_start = [&](const TrainingFacts& facts) {
    reading.reset();
    tokenizing.reset();
    display.start(facts);
    training = 1;
  };
  session.on_step = [&](const StepMetrics& metrics) { display.step(metrics); };
  session.on_evaluation = [&](const EvaluationMetrics& metrics) { display.evaluation(metrics); };
  session.stop_requested = [] { return stop_signal != 0; };
  note_signals();
  if (options.compare) return end_comparison(compare_training(recipe, compare, session), display);
  if (!options.tensorboard.empty()) {
    session = with_event_file(session, options.tensorboard, recipe);
  }
  const TrainingEnd end = train(recipe, session);
  display.end();
  const std::string saved = end.checkpoint.string();
  if (end.finished) {
    print_line("done: " + saved);
    return;
  }
  print_line("stopped" + (saved.empty() ? "" : ", saved " + saved) + "; diffllama train " +
             output_dir_of(recipe) + "/recipe.json --resume goes on");
  throw ExitStatus{128 + static_cast<int>(stop_signal)};
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "train",
      "Trains a model as a JSON recipe says (docs/training.md): from the beginning or from a "
      "checkpoint, for language modelling, classification, question answering or tagging. Ctrl-C "
      "(SIGTERM, SIGHUP) saves a checkpoint and stops with status 130 (143, 129)");
  const auto options = std::make_shared<TrainCommand>();
  add_recipe_options(*command, options->recipe,
                     "JSON; a field that is absent has its default, --fields lists them");
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
          options->recipe.fields.emplace_back(name, value);
        },
        std::string("The recipe's ") + field);
  }
  command->add_flag("--resume", options->resume,
                    "Goes on from the newest whole checkpoint in the output directory, with the "
                    "same bits as a run that was never stopped; begins where there is none");
  command->add_flag("--compare", options->compare,
                    "Trains the members that the recipe's section \"compare\" names, for each of "
                    "its seeds, on equal terms, and prints a table; OUT/compare.{md,json,svg} hold "
                    "it, the numbers and a plot. What was done before is not done again");
  add_path_option(*command, "--tensorboard", options->tensorboard,
                  "A directory for event files that tensorboard shows: the metrics, lambda and "
                  "RMS by layer, and text that the model writes at each checkpoint")
      ->type_name("DIR")
      ->excludes("--compare");
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
