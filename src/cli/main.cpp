#include <algorithm>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include <CLI/CLI.hpp>

#include "base/signals.h"
#include "cli/common.h"
#include "diffllama/error.h"

namespace {

// Exit statuses, the same for every command.
constexpr int kFailed = 1;
constexpr int kWrongCommandLine = 2;

// An error is one line, also where a file's name or an argument has line breaks or moves a cursor.
int fail(int status, std::string message) {
  const auto is_control = [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; };
  std::ranges::replace_if(message, is_control, '?');
  std::cerr << "error: " << message << '\n';
  return status;
}

int run(int argc, char** argv) {
  CLI::App app("diffllama: DiffLlama and Llama models on the CPU");
  app.require_subcommand(1);
  app.set_version_flag("--version", "diffllama " DIFFLLAMA_VERSION);
  diffllama::cli::add_generate_command(app);
  diffllama::cli::add_forward_command(app);
  diffllama::cli::add_tokenize_command(app);
  diffllama::cli::add_perplexity_command(app);
  diffllama::cli::add_info_command(app);
  diffllama::cli::add_bench_command(app);
  diffllama::cli::add_convert_command(app);
  diffllama::cli::add_quantize_command(app);
  diffllama::cli::add_train_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      return fail(kWrongCommandLine, std::string(error.what()) + " (see diffllama --help)");
    }
    app.exit(error);  // writes what --help and --version give
  }
  std::cout.flush();
  if (!std::cout) return fail(kFailed, "expected to write to standard output, got an error");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
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
