#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "cli/chat_session.h"
#include "cli/common.h"
#include "cli/generation_options.h"
#include "cli/line_editor.h"
#include "cli/validators.h"
#include "diffllama/error.h"
#include "diffllama/files.h"

namespace diffllama::cli {
namespace {

struct ChatOptions {
  ModelOptions model;
  std::string chat_template, system;
  bool plain = false;
  nlohmann::json given = nlohmann::json::object();  // what the command line says of generation
};

constexpr std::int64_t kMaxNewTokens = 1024;
// An answer is one sequence, whose conversation grows, and takes its tokens from one model alone.
constexpr std::string_view kNotOfChat[] = {"max_length",
                                           "min_length",
                                           "max_time",
                                           "forced_bos_token_id",
                                           "pad_token_id",
                                           "num_return_sequences",
                                           "num_beams",
                                           "length_penalty",
                                           "early_stopping",
                                           "guidance_scale",
                                           "negative_prompt_ids",
                                           "max_matching_ngram_size",
                                           "num_assistant_tokens",
                                           "assistant_confidence_threshold"};

constexpr const char* kHelp =
    "/reset          forget the conversation, not the system prompt\n"
    "/system [TEXT]  set the system prompt, or remove it\n"
    "/regen          answer the last message again\n"
    "/save FILE      write the conversation as JSON\n"
    "/load FILE      go on with one that was saved\n"
    "/stats          what the last answer cost\n"
    "/help           this\n"
    "/quit           end, as Ctrl-D does\n"
    "A line that ends in \\ goes on in the next; lines between two lines of \"\"\" are one "
    "message.\n"
    "Ctrl-C stops an answer.\n";

// For models without a template of their own.
constexpr const char* kPlainTemplate =
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% else %}{{ message.role | capitalize }}: {{ message.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";
constexpr const char* kPlainStop = "\nUser:";

// Set by Ctrl-C, looked at between tokens.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<bool> interrupted = false;
std::atomic<bool> reading = false;  // a line, on a terminal
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)
static_assert(std::atomic<bool>::is_always_lock_free);

void catch_interrupts() {
  struct sigaction action = {};
  // A signal that comes just before the terminal is read would be seen only after the next key:
  // the alarm ends that reading.
  action.sa_handler = [](int) {
    interrupted = true;
    if (reading) alarm(1);
  };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);  // without SA_RESTART: reading a line ends too
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
}

GenerationConfig generation_config(const ChatOptions& options) {
  GenerationConfig config =
      GenerationConfig::from_pretrained(model_path(options.model), print_warning);
  // Of a file that says nothing of answers, or of a whole conversation.
  config.max_new_tokens = std::max(config.max_new_tokens, kMaxNewTokens);
  config.max_length.reset();
  config.min_length.reset();
  config.num_return_sequences = 1;
  set_generation_options(options.given, "chat", config);
  return config;
}

// Whatever ends a turn for this model: the ids of its configuration, and what its tokenizer says.
std::vector<std::int64_t> end_ids(const Model& model, const Tokenizer& tokenizer,
                                  const GenerationConfig& config) {
  std::vector<std::int64_t> ids = end_of_turn_token_ids(tokenizer);
  for (const auto* more : {&model.config().eos_token_ids, &config.eos_token_ids}) {
    ids.insert(ids.end(), more->begin(), more->end());
  }
  return ids;
}

/// The terminal's side of a conversation.
class Chat {
 public:
  Chat(const ChatOptions& options, LineEditor& editor, ChatSession& session)
      : editor_(editor), session_(session), colour_(isatty(STDOUT_FILENO) != 0) {
    set_system(options.system);
  }

  void run() {
    if (editor_.on_terminal()) std::cerr << "/help lists the commands, Ctrl-D ends.\n";
    while (const std::optional<std::string> message = read_message()) {
      if (message->empty()) continue;
      try {
        if (message->starts_with('/')) {
          if (!command(*message)) return;
        } else {
          session_.messages().push_back({"user", *message});
          if (!answer()) session_.messages().pop_back();
        }
      } catch (const Error& error) {
        std::cerr << "error: " << error.what() << '\n';
        if (!editor_.on_terminal()) throw ExitStatus{1};
      }
    }
  }

 private:
  std::string painted(const char* code, const std::string& text) const {
    return colour_ ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
  }

  // One message of one or more lines; nothing at the end of the input.
  std::optional<std::string> read_message() {
    std::string message;
    bool block = false;  // between """ and """
    for (bool first = true;; first = false) {
      interrupted = false;
      reading = editor_.on_terminal();
      const LineEditor::Input input = editor_.read(first ? "> " : ". ");
      reading = false;
      alarm(0);
      if (input.event == LineEditor::Event::end) {
        if (editor_.on_terminal()) std::cout << '\n';
        if (message.empty()) return std::nullopt;
        break;
      }
      if (input.event == LineEditor::Event::interrupted) {
        std::cout << '\n';
        return "";
      }
      std::string line = input.text;
      if (line == R"(""")") {
        block = !block;
        if (!block) break;
        continue;
      }
      const bool goes_on = !block && line.ends_with('\\');
      if (goes_on) line.pop_back();
      message += line;
      if (!block && !goes_on) break;
      message += '\n';
    }
    if (block && message.ends_with('\n')) message.pop_back();
    if (message.ends_with('\n')) message.pop_back();
    editor_.remember(message);
    return message;
  }

  // False where the model had nothing to say and no message was added.
  bool answer() {
    interrupted = false;
    const std::size_t before = session_.messages().size();
    TurnEnd end = TurnEnd::length;
    if (colour_) std::cout << "\x1b[36m";
    try {
      end = session_.answer(
          [](const std::string& text) {
            std::cout << text << std::flush;
            if (!std::cout) throw IoError("expected to write to standard output, got an error");
          },
          interrupted);
    } catch (const Error&) {
      if (colour_) std::cout << "\x1b[0m\n" << std::flush;
      session_.messages().resize(before - 1);
      throw;
    }
    if (colour_) std::cout << "\x1b[0m";
    std::cout << '\n' << std::flush;
    if (end == TurnEnd::cancelled) std::cerr << painted("2", "[stopped]") << '\n';
    if (end == TurnEnd::length) std::cerr << painted("2", "[--max-new-tokens reached]") << '\n';
    return session_.messages().size() > before;
  }

  // False: the program ends.
  bool command(const std::string& line) {
    const std::size_t space = std::min(line.find_first_of(" \n"), line.size());
    const std::string name = line.substr(0, space);
    const std::string argument = space < line.size() ? line.substr(space + 1) : "";
    if (name == "/quit" || name == "/exit") return false;
    if (name == "/help") {
      std::cerr << kHelp;
    } else if (name == "/reset") {
      set_system(system());
    } else if (name == "/system") {
      set_system_kept(argument);
    } else if (name == "/regen") {
      regenerate();
    } else if (name == "/stats") {
      print_stats();
    } else if (name == "/save") {
      save(argument);
    } else if (name == "/load") {
      load(argument);
    } else {
      throw InvalidArgument("expected a command of /help, got " + name.substr(0, 40));
    }
    return true;
  }

  std::string system() const {
    const auto& messages = session_.messages();
    return !messages.empty() && messages.front().role == "system" ? messages.front().content : "";
  }
  // Begins anew with this system prompt; empty: none.
  void set_system(const std::string& text) {
    session_.messages().clear();
    if (!text.empty()) session_.messages().push_back({"system", text});
  }
  // Changes it and keeps the turns.
  void set_system_kept(const std::string& text) {
    auto& messages = session_.messages();
    if (!messages.empty() && messages.front().role == "system") messages.erase(messages.begin());
    if (!text.empty()) messages.insert(messages.begin(), {"system", text});
  }

  void regenerate() {
    auto& messages = session_.messages();
    std::optional<ChatMessage> old;
    if (!messages.empty() && messages.back().role == "assistant") {
      old = messages.back();
      messages.pop_back();
    }
    if (messages.empty() || messages.back().role == "system") {
      throw InvalidArgument("/regen: expected a message to answer, got none");
    }
    const ChatMessage question = messages.back();
    session_.next_draw();
    try {
      if (!answer() && old) messages.push_back(*old);
    } catch (const Error&) {
      messages.push_back(question);
      if (old) messages.push_back(*old);
      throw;
    }
  }

  void print_stats() const {
    const TurnStats& stats = session_.stats();
    std::fprintf(stderr,
                 "%lld prompt tokens, %lld of them cached, read in %.2f s; %lld new tokens in %.2f "
                 "s; %zu messages\n",
                 static_cast<long long>(stats.prompt_tokens),
                 static_cast<long long>(stats.cached_tokens), stats.prompt_seconds,
                 static_cast<long long>(stats.new_tokens), stats.new_seconds,
                 session_.messages().size());
  }

  void save(const std::string& file) const {
    if (file.empty()) throw InvalidArgument("/save: expected the name of a file, got none");
    nlohmann::ordered_json conversation = {{"messages", nlohmann::ordered_json::array()}};
    for (const ChatMessage& message : session_.messages()) {
      conversation["messages"].push_back({{"role", message.role}, {"content", message.content}});
    }
    write_file_atomically(
        file, conversation.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }

  void load(const std::string& name) {
    if (name.empty()) throw InvalidArgument("/load: expected the name of a file, got none");
    const nlohmann::json conversation = parse_json(read_file(name), name);
    const auto refuse = [&](const nlohmann::json& found) {
      throw FormatError(name +
                        R"(: expected {"messages": [{"role": "user", "content": "..."}, ...]}, )"
                        "got " +
                        json_excerpt(found));
    };
    if (!conversation.is_object() || !conversation.contains("messages")) refuse(conversation);
    std::vector<ChatMessage> messages;
    if (!conversation["messages"].is_array()) refuse(conversation["messages"]);
    for (const nlohmann::json& message : conversation["messages"]) {
      const auto text = [&](const char* key) {
        if (!message.is_object() || !message.contains(key) || !message[key].is_string()) {
          refuse(message);
        }
        return message[key].get<std::string>();
      };
      messages.push_back({text("role"), text("content")});
    }
    session_.messages() = std::move(messages);
    std::cerr << session_.messages().size() << " messages\n";
  }

  LineEditor& editor_;
  ChatSession& session_;
  bool colour_;
};

// The model's template, or where it has none a plain one that --plain or the user asks for.
ChatTemplate choose_template(const ChatOptions& options, LineEditor& editor,
                             GenerationConfig& config) {
  const auto path = model_path(options.model);
  ChatTemplateOptions source;
  source.file = options.chat_template;
  source.warn = print_warning;
  if (!options.plain) {
    if (auto found = ChatTemplate::from_pretrained(path, source)) return *std::move(found);
    std::cerr << path.string() << " brings no chat template";
    if (!editor.on_terminal()) {
      std::cerr << ": --plain takes a plain one, --chat-template FILE another\n";
      throw ExitStatus{1};
    }
    std::cerr << ".\n";
    const LineEditor::Input reply =
        editor.read("Use a plain one (User: ... Assistant: ...)? [y/n] ");
    if (reply.event != LineEditor::Event::line || !reply.text.starts_with('y')) throw ExitStatus{1};
  }
  config.stop_strings.emplace_back(kPlainStop);
  return ChatTemplate({{"default", kPlainTemplate}}, {}, "plain chat template");
}

void run(const ChatOptions& options) {
  GenerationConfig config = generation_config(options);
  LineEditor editor;
  const ChatTemplate chat_template = choose_template(options, editor, config);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(options.model), print_warning);
  const Model model = load_model(options.model);
  check_given_eos(options.given, config, model.config().vocab_size);
  ChatSession session(model, tokenizer, chat_template, config, end_ids(model, tokenizer, config));
  catch_interrupts();
  Chat(options, editor, session).run();
}

}  // namespace

void add_chat_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "chat",
      "Talk with a model on the terminal, or give it messages on stdin, one a line. Answers go to "
      "standard output as they come, all else to standard error; /help lists the commands.");
  const auto options = std::make_shared<ChatOptions>();
  add_model_options(*command, options->model);
  command->add_option("--system", options->system, "The system prompt");
  add_path_option(*command, "--chat-template", options->chat_template,
                  "File with a Jinja template, in place of the model's own");
  command->add_flag("--plain", options->plain,
                    "Write User: and Assistant: before the turns, in place of a template");
  add_generation_options(*command, options->given, kNotOfChat);
  command->get_option("--max-new-tokens")
      ->description("Most new tokens of an answer (" + std::to_string(kMaxNewTokens) + ")");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
