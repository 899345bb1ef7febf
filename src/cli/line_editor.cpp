#include "cli/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <iostream>

#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

constexpr int kHistoryEntries = 500;

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
};

LineEditor::LineEditor() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) return;
  state_ = std::make_unique<State>();
  state_->editor = el_init("diffllama", stdin, stdout, stderr);
  state_->history = history_init();
  if (state_->editor == nullptr || state_->history == nullptr) {
    throw IoError("expected a terminal that lines can be edited on, got another");
  }
  HistEvent event;
  history(state_->history, &event, H_SETSIZE, kHistoryEntries);
  el_set(state_->editor, EL_CLIENTDATA, state_.get());
  el_set(
      state_->editor, EL_PROMPT, +[](EditLine* editor) -> char* {
        State* state = nullptr;
        el_get(editor, EL_CLIENTDATA, &state);
        return state->prompt.data();
      });
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_set(state_->editor, EL_SIGNAL, 0);
  el_set(state_->editor, EL_HIST, history, state_->history);
  el_source(state_->editor, nullptr);  // ~/.editrc
}

LineEditor::~LineEditor() {
  if (state_ == nullptr) return;
  if (state_->editor != nullptr) el_end(state_->editor);
  if (state_->history != nullptr) history_end(state_->history);
}

bool LineEditor::on_terminal() const { return state_ != nullptr; }

LineEditor::Input LineEditor::read(const std::string& prompt) {
  std::string line;
  if (state_ == nullptr) {
    if (!std::getline(std::cin, line)) return {Event::end, ""};
    if (line.ends_with('\r')) line.pop_back();
    return {Event::line, line};
  }
  state_->prompt = prompt;
  int size = 0;
  errno = 0;
  const char* text = el_gets(state_->editor, &size);
  if (text == nullptr || size <= 0) {
    const bool interrupted = errno == EINTR || size < 0;
    el_reset(state_->editor);
    return {interrupted ? Event::interrupted : Event::end, ""};
  }
  line.assign(text, static_cast<std::size_t>(size));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  return {Event::line, line};
}

void LineEditor::remember(const std::string& entry) {
  if (state_ == nullptr || entry.empty()) return;
  HistEvent event;
  history(state_->history, &event, H_ENTER, entry.c_str());
}

}  // namespace diffllama::cli
