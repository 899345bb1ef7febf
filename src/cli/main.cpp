#include <algorithm>
#include <cstddef>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/regular_file.h"
#include "base/text.h"
#include "cli/common.h"
#include "cli/task_commands.h"
#include "diffllama/error.h"
#include "diffllama/files.h"

namespace {

// Exit statuses, the same for every command.
constexpr int kFailed = 1;
constexpr int kWrongCommandLine = 2;

int fail(int status, const std::string& message) {
  diffllama::cli::print_line("error: " + message);
  return status;
}

// What is wrong with an argument in a command's place; empty where it is one, or the program's own
// option.
std::string command_problem(const CLI::App& app, const std::string& given) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::ranges::find(names, given) != names.end()) return "";
  if (given.starts_with('-')) {
    if (app.get_option_no_throw(given) != nullptr) return "";
    return "expected a command before its options, got \"" + diffllama::shortened(given) +
           "\" (see diffllama --help)";
  }
  // Near is what differs in two of five letters at most, as this does, which is no command.
  const std::string shown = diffllama::shortened(given);
  const std::size_t slips = (2 * shown.size() + 4) / 5;
  names.push_back(shown.substr(0, shown.size() - slips) + std::string(slips, '\n'));
  const std::size_t nearest = diffllama::nearest_of(shown, names);
  return "expected a command, got \"" + shown + "\"" +
         (nearest + 1 < names.size() ? "; the nearest is " + names[nearest] : "") +
         " (see diffllama --help)";
}

int run(int argc, char** argv) {
  CLI::App app("diffllama: DiffLlama and Llama models on the CPU");
  app.require_subcommand(1);
  app.set_version_flag("--version", "diffllama " DIFFLLAMA_VERSION);
  diffllama::cli::add_generate_command(app);
  diffllama::cli::add_forward_command(app);
  diffllama::cli::add_tokenize_command(app);
  diffllama::cli::add_tokenizer_command(app);
  diffllama::cli::add_perplexity_command(app);
  diffllama::cli::add_info_command(app);
  diffllama::cli::add_bench_command(app);
  diffllama::cli::add_convert_command(app);
  diffllama::cli::add_quantize_command(app);
  diffllama::cli::add_train_command(app);
  diffllama::cli::add_apply_chat_template_command(app);
  diffllama::cli::add_chat_command(app);
  diffllama::cli::add_attention_command(app);
  diffllama::cli::add_classify_command(app);
  diffllama::cli::add_answer_command(app);
  diffllama::cli::add_tag_command(app);
  diffllama::cli::add_embed_command(app);
  diffllama::cli::add_evaluate_command(app);
  const std::string problem = argc > 1 ? command_problem(app, argv[1])
                                       : "expected a command, got none (see diffllama --help)";
  if (!problem.empty()) return fail(kWrongCommandLine, problem);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      constexpr std::size_t kMost = 1000;  // it may repeat any argument
      return fail(kWrongCommandLine,
                  diffllama::printable(error.what(), kMost) + " (see diffllama --help)");
    }
    app.exit(error);  // writes what --help and --version give
  }
  std::cout.flush();
  if (!std::cout) return fail(kFailed, "expected to write to standard output, got an error");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  diffllama::occupy_closed_streams();
  diffllama::clean_up_on_signals();
  try {
    return run(argc, argv);
  } catch (const diffllama::cli::ExitStatus& exit) {
    return exit.status;
  } catch (const std::bad_alloc&) {
    return fail(kFailed, "expected enough memory, got an allocation that failed");
  } catch (const std::exception& error) {
    return fail(kFailed, error.what());
  }
}
