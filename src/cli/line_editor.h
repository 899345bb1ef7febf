#pragma once

#include <memory>
#include <optional>
#include <string>

namespace diffllama::cli {

/// Reads lines: on a terminal with editing and a history (libedit), elsewhere as they come.
class LineEditor {
 public:
  enum class Event { line, interrupted, end };
  struct Input {
    Event event = Event::end;
    std::string text;  // of a line, without its end
  };

  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// Standard input and output are a terminal.
  bool on_terminal() const;
  /// Shows `prompt` on a terminal. `interrupted`: a signal came, such as that of Ctrl-C.
  Input read(const std::string& prompt);
  /// Keeps what was entered, as one entry of the history.
  void remember(const std::string& entry);

 private:
  struct State;
  std::unique_ptr<State> state_;  // null where there is no terminal
};

}  // namespace diffllama::cli
