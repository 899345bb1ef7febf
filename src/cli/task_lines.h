#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/progress.h"
#include "diffllama/tasks.h"

namespace diffllama::cli {

/// Where the inputs of a task come from: JSON lines of a file or of standard input, or one text.
struct TaskInputOptions {
  std::optional<std::string> file, text;
};

/// -f/--file and -p/--prompt, of which `text_help` says what it is.
void add_task_input_options(CLI::App& command, TaskInputOptions& options, const char* text_help);

/// The lines of a file or of standard input, as they come.
class InputLines {
 public:
  /// Nothing: standard input. Throws IoError.
  explicit InputLines(const std::optional<std::string>& file);
  ~InputLines();
  InputLines(const InputLines&) = delete;
  InputLines& operator=(const InputLines&) = delete;

  /// Sets `line` to the next that is not blank; false at the end. Throws IoError.
  bool next(std::string& line);
  /// Whether next() would return at once.
  bool ready() const;
  /// "PATH:LINE" of the last line.
  std::string where() const;
  std::uint64_t bytes_read() const { return bytes_read_; }
  std::uint64_t total_bytes() const { return total_bytes_; }  // 0: unknown

 private:
  bool read_more();

  std::string path_;
  int file_ = -1;
  bool ended_ = false;
  std::string buffer_;
  std::size_t at_ = 0;  // of the buffer, what comes next
  std::int64_t number_ = 0;
  std::uint64_t bytes_read_ = 0, total_bytes_ = 0;
};

/// An object of JSON lines; what is not UTF-8 is read as U+FFFD. Throws FormatError "WHERE: ...".
nlohmann::json parse_line(const std::string& line, const std::string& where);
/// Its string `field`. Throws FormatError "WHERE: ...".
std::string text_field(const nlohmann::json& object, const char* field, const std::string& where);

/// One line of standard output.
void print_json_line(const nlohmann::ordered_json& line);

/// Goes through the inputs of a task: read(object, where) makes an Input of a line's object,
/// run(inputs) a JSON line of each. Inputs go through the model together, those that are there;
/// what came before an input that cannot be used is answered first. `single`, where there is one,
/// is the only input.
template <class Input, class Read, class Run>
void run_task(const TaskInputOptions& options, const std::optional<Input>& single, const Read& read,
              const Run& run) {
  constexpr std::size_t kTogether = 256;  // some steps' worth
  std::vector<Input> inputs;
  std::vector<std::string> places;
  const auto flush = [&] {
    const auto print = [&](std::span<const Input> some) {
      for (const nlohmann::ordered_json& line : run(some)) print_json_line(line);
      std::cout.flush();
    };
    try {
      print(inputs);
    } catch (const InvalidInput& error) {
      print(std::span(inputs).first(error.index()));
      throw InvalidArgument(places[error.index()] + ": " + error.what());
    }
    inputs.clear();
    places.clear();
  };
  if (single) {
    inputs.push_back(*single);
    places.emplace_back("-p");
    return flush();
  }
  InputLines lines(options.file);
  Progress progress(lines.total_bytes(), "texts");
  std::int64_t count = 0;
  for (std::string line; lines.next(line);) {
    try {
      inputs.push_back(read(parse_line(line, lines.where()), lines.where()));
    } catch (const Error&) {
      flush();
      throw;
    }
    places.push_back(lines.where());
    ++count;
    if (inputs.size() < kTogether && lines.ready()) continue;
    progress.clear();
    flush();
    progress.update(lines.bytes_read(), count);
  }
  progress.clear();
  flush();
}

}  // namespace diffllama::cli
