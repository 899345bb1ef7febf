#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "cli/common.h"
#include "cli/task_commands.h"
#include "cli/task_lines.h"
#include "diffllama/error.h"
#include "diffllama/tasks.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

const std::map<std::string, Aggregation> kAggregations = {{"none", Aggregation::none},
                                                          {"simple", Aggregation::simple},
                                                          {"first", Aggregation::first},
                                                          {"average", Aggregation::average},
                                                          {"max", Aggregation::max}};

struct TagCommand {
  TagCommand() { model.compute = ComputeType::float32; }

  ModelOptions model;
  TaskInputOptions input;
  TagOptions options;
};

TagInput read_input(const nlohmann::json& object, const std::string& where) {
  if (object.contains("text") == object.contains("words")) {
    throw FormatError(where + R"(: expected an object with either "text" or "words", got )" +
                      json_excerpt(object));
  }
  if (object.contains("text")) {
    return {.text = text_field(object, "text", where), .words = std::nullopt};
  }
  const nlohmann::json& list = object["words"];
  std::vector<std::string> words;
  for (const nlohmann::json& word : list) {
    if (!list.is_array() || !word.is_string()) break;
    words.push_back(word.get<std::string>());
  }
  if (!list.is_array() || words.size() != list.size()) {
    throw FormatError(where + ": words: expected a list of strings, got " + json_excerpt(list));
  }
  return {.text = "", .words = std::move(words)};
}

nlohmann::ordered_json to_json(const std::vector<Entity>& entities, bool groups) {
  nlohmann::ordered_json list = nlohmann::json::array();
  for (const Entity& entity : entities) {
    nlohmann::ordered_json item = {{groups ? "entity_group" : "entity", entity.entity},
                                   {"score", entity.score}};
    if (!groups) item["index"] = entity.index;
    item["word"] = entity.word;
    item["start"] = entity.start;
    item["end"] = entity.end;
    list.push_back(std::move(item));
  }
  return {{"entities", std::move(list)}};
}

void run(const TagCommand& command) {
  const Model model = load_model(command.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(command.model), print_warning);
  std::optional<TagInput> single;
  if (command.input.text) single = {.text = *command.input.text, .words = std::nullopt};
  const bool groups = command.options.aggregation != Aggregation::none;
  run_task(command.input, single, read_input, [&](std::span<const TagInput> inputs) {
    std::vector<nlohmann::ordered_json> lines;
    for (const auto& entities : tag(model, tokenizer, inputs, command.options)) {
      lines.push_back(to_json(entities, groups));
    }
    return lines;
  });
}

}  // namespace

void add_tag_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "tag",
      "Entities in texts, by a model for token classification: JSON lines {\"text\"} or "
      "{\"words\": [...]} to {\"entities\": [{\"entity\" or \"entity_group\", \"score\", \"word\", "
      "\"start\", \"end\"}]}; places in characters, \"O\" left out");
  const auto options = std::make_shared<TagCommand>();
  add_model_options(*command, options->model);
  add_task_input_options(*command, options->input, "One text, in place of JSON lines");
  command
      ->add_option_function<std::string>(
          "--aggregation",
          [options](const std::string& name) {
            options->options.aggregation = kAggregations.at(name);
          },
          "none: each token by itself; simple: neighbours with one label together; first, average, "
          "max: the same, after the tokens of each word agreed on a label")
      ->check(CLI::IsMember({"none", "simple", "first", "average", "max"}))
      ->default_str("none");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
