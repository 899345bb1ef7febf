#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/validators.h"
#include "diffllama/chat.h"
#include "diffllama/error.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

struct ApplyOptions {
  ModelOptions model;
  std::string chat_template;
  bool json = false;
  bool allow_special_in_content = false;
};

void run(const ApplyOptions& options) {
  const auto path = model_path(options.model);
  ChatTemplateOptions source;
  source.file = options.chat_template;
  source.warn = print_warning;
  const auto chat_template = ChatTemplate::from_pretrained(path, source);
  if (!chat_template) {
    throw FormatError(path.string() +
                      ": expected a model with a chat template, got one without: give one with "
                      "--chat-template FILE");
  }
  const std::string conversation{std::istreambuf_iterator<char>(std::cin),
                                 std::istreambuf_iterator<char>()};
  const RenderedChat chat = chat_template->apply(conversation, "stdin");
  if (!options.json) {
    std::cout << chat.text;
    return;
  }
  const Tokenizer tokenizer = Tokenizer::from_pretrained(path, print_warning);
  const nlohmann::ordered_json result = {
      {"text", chat.text}, {"ids", encode_chat(tokenizer, chat, options.allow_special_in_content)}};
  std::cout << result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

}  // namespace

void add_apply_chat_template_command(CLI::App& app) {
  const auto options = std::make_shared<ApplyOptions>();
  CLI::App* command = app.add_subcommand(
      "apply-chat-template",
      "Print the text that the model's chat template makes of the conversation on stdin, and "
      "nothing else. The conversation is a JSON object with messages, and with tools, documents, "
      "add_generation_prompt and whatever else the template reads.");
  add_model_option(*command, options->model);
  add_path_option(*command, "--chat-template", options->chat_template,
                  "File with a Jinja template, in place of the model's own");
  command->add_flag("--json", options->json, R"(Print {"text": ..., "ids": [...]} instead)");
  command->add_flag("--allow-special-in-content", options->allow_special_in_content,
                    "Let special tokens match in what came out of the conversation too");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
