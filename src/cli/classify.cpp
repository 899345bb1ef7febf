#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/task_commands.h"
#include "cli/task_lines.h"
#include "diffllama/tasks.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

const std::map<std::string, ScoreFunction> kFunctions = {{"softmax", ScoreFunction::softmax},
                                                         {"sigmoid", ScoreFunction::sigmoid},
                                                         {"none", ScoreFunction::none}};

struct ClassifyCommand {
  ClassifyCommand() { model.compute = ComputeType::float32; }

  ModelOptions model;
  TaskInputOptions input;
  ClassifyOptions options;
};

ClassifyInput read_input(const nlohmann::json& object, const std::string& where) {
  ClassifyInput input{.text = text_field(object, "text", where), .text_pair = std::nullopt};
  if (object.contains("text_pair") && !object["text_pair"].is_null()) {
    input.text_pair = text_field(object, "text_pair", where);
  }
  return input;
}

void run(const ClassifyCommand& command) {
  const Model model = load_model(command.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(command.model), print_warning);
  std::optional<ClassifyInput> single;
  if (command.input.text) single = {.text = *command.input.text, .text_pair = std::nullopt};
  run_task(command.input, single, read_input, [&](std::span<const ClassifyInput> inputs) {
    std::vector<nlohmann::ordered_json> lines;
    for (const Classification& result : classify(model, tokenizer, inputs, command.options)) {
      lines.push_back({{"labels", result.labels}, {"scores", result.scores}});
    }
    return lines;
  });
}

}  // namespace

void add_classify_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "classify",
      "Labels of texts and their scores, by a model for sequence classification: JSON lines "
      "{\"text\", \"text_pair\"?} to {\"labels\", \"scores\"}, the highest first");
  const auto options = std::make_shared<ClassifyCommand>();
  add_model_options(*command, options->model);
  add_task_input_options(*command, options->input, "One text, in place of JSON lines");
  command->add_option("--top-k", options->options.top_k, "Labels that are given (default: all)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  command
      ->add_option_function<std::string>(
          "--function",
          [options](const std::string& name) { options->options.function = kFunctions.at(name); },
          "What makes scores of logits: softmax, sigmoid or none (default: by the model's "
          "problem_type: softmax for one label of many, sigmoid for several, none for regression)")
      ->check(CLI::IsMember({"softmax", "sigmoid", "none"}));
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
