#include <cstdint>
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

struct AnswerCommand {
  AnswerCommand() { model.compute = ComputeType::float32; }

  ModelOptions model;
  TaskInputOptions input;
  std::string context;
  AnswerOptions options;
};

Question read_input(const nlohmann::json& object, const std::string& where) {
  return {.question = text_field(object, "question", where),
          .context = text_field(object, "context", where)};
}

nlohmann::ordered_json to_json(const std::vector<Answer>& answers) {
  nlohmann::ordered_json list = nlohmann::json::array();
  for (const Answer& answer : answers) {
    list.push_back({{"answer", answer.answer},
                    {"score", answer.score},
                    {"start", answer.start},
                    {"end", answer.end}});
  }
  return {{"answers", std::move(list)}};
}

void run(const AnswerCommand& command) {
  const Model model = load_model(command.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(command.model), print_warning);
  std::optional<Question> single;
  if (command.input.text) single = {.question = *command.input.text, .context = command.context};
  run_task(command.input, single, read_input, [&](std::span<const Question> questions) {
    std::vector<nlohmann::ordered_json> lines;
    for (const auto& answers : answer(model, tokenizer, questions, command.options)) {
      lines.push_back(to_json(answers));
    }
    return lines;
  });
}

}  // namespace

void add_answer_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "answer",
      "Answers to questions as spans of their contexts, by a model for question answering: JSON "
      "lines {\"question\", \"context\"} to {\"answers\": [{\"answer\", \"score\", \"start\", "
      "\"end\"}]}, the best first; places in characters");
  const auto options = std::make_shared<AnswerCommand>();
  add_model_options(*command, options->model);
  add_task_input_options(*command, options->input,
                         "One question, in place of JSON lines, on --context");
  CLI::Option* prompt = command->get_option("--prompt");
  CLI::Option* context =
      command->add_option("--context", options->context, "The text that -p asks about");
  prompt->needs(context);
  context->needs(prompt);
  const auto at_least_one = CLI::Range(std::int64_t{1}, std::int64_t{1} << 30);
  command->add_option("--top-k", options->options.top_k, "The most answers to a question")
      ->check(at_least_one)
      ->capture_default_str();
  command
      ->add_option("--max-answer-length", options->options.max_answer_length,
                   "The most tokens of an answer")
      ->check(at_least_one)
      ->capture_default_str();
  command
      ->add_option("--doc-stride", options->options.doc_stride,
                   "Tokens of a long context that two windows share (default: 128, or half of "
                   "--max-seq-length)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30));
  command
      ->add_option("--max-seq-length", options->options.max_seq_length,
                   "Tokens of a window, question and special tokens included (default: 384, or "
                   "the tokenizer's model_max_length)")
      ->check(at_least_one);
  command->add_flag("--handle-impossible", options->options.handle_impossible,
                    "The empty answer, that there is none, competes");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
