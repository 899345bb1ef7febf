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

const std::map<std::string, Pooling> kPoolings = {
    {"mean", Pooling::mean}, {"last", Pooling::last}, {"weighted", Pooling::weighted}};

struct EmbedCommand {
  EmbedCommand() { model.compute = ComputeType::float32; }

  ModelOptions model;
  TaskInputOptions input;
  EmbedOptions options;
};

void run(const EmbedCommand& command) {
  const Model model = load_model(command.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(command.model), print_warning);
  const auto read = [](const nlohmann::json& object, const std::string& where) {
    return text_field(object, "text", where);
  };
  run_task(command.input, command.input.text, read, [&](std::span<const std::string> texts) {
    std::vector<nlohmann::ordered_json> lines;
    for (const auto& embedding : embed(model, tokenizer, texts, command.options)) {
      lines.push_back({{"embedding", embedding}});
    }
    return lines;
  });
}

}  // namespace

void add_embed_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "embed",
      "Vectors for texts, pooled from the last hidden state of a model with any head: JSON lines "
      "{\"text\"} to {\"embedding\": [...]}");
  const auto options = std::make_shared<EmbedCommand>();
  add_model_options(*command, options->model);
  add_task_input_options(*command, options->input, "One text, in place of JSON lines");
  command
      ->add_option_function<std::string>(
          "--pooling",
          [options](const std::string& name) { options->options.pooling = kPoolings.at(name); },
          "mean of all tokens, last token, or weighted: the mean with weights 1, 2, 3, ...")
      ->check(CLI::IsMember({"mean", "last", "weighted"}))
      ->default_str("mean");
  command->add_flag("--normalize", options->options.normalize, "To length 1");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
