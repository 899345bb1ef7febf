#include "cli/terminal.h"

#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace diffllama::cli_test {

Terminal::Terminal(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{DIFFLLAMA_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  winsize size{};
  size.ws_col = 200;
  size.ws_row = 50;
  process_ = forkpty(&terminal_, nullptr, nullptr, &size);
  if (process_ < 0) throw std::runtime_error(std::string("forkpty: ") + std::strerror(errno));
  if (process_ == 0) {
    setenv("TERM", "xterm", 1);
    execv(DIFFLLAMA_PROGRAM, pointers.data());
    _exit(127);
  }
}

Terminal::~Terminal() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  close(terminal_);
}

void Terminal::type(const std::string& keys) const {
  if (write(terminal_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
    throw std::runtime_error(std::string("write: ") + std::strerror(errno));
  }
}

bool Terminal::read_more() {
  // Nothing for so long: it waits too, and the test tells what it had shown.
  constexpr int kPatience = 60'000;  // ms
  pollfd waiting{.fd = terminal_, .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1, kPatience) == 0) return false;
  char buffer[4096];
  ssize_t size = 0;
  do {
    size = read(terminal_, buffer, sizeof buffer);
  } while (size < 0 && errno == EINTR);
  if (size <= 0) return false;  // EIO: nobody has the other side open any more
  screen_.append(buffer, static_cast<std::size_t>(size));
  return true;
}

bool Terminal::wait_for(const std::string& text) {
  for (;;) {
    const std::size_t found = screen_.find(text, seen_);
    if (found != std::string::npos) {
      seen_ = found + text.size();
      return true;
    }
    if (!read_more()) return false;
  }
}

int Terminal::exit_status(const std::string& keys) {
  // libedit shows its prompt just before it takes the keys itself: what is typed in between is
  // lost, or becomes text of the line (Ctrl-D as "^D", behind which another one only beeps). So the
  // line is cleared and they are typed again, as a person does.
  constexpr char kClearLine = '\x15';  // Ctrl-U
  type(keys);
  for (;;) {
    pollfd waiting{.fd = terminal_, .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, 1000) == 0) {
      type(std::string{kClearLine}.append(keys));
    } else if (!read_more()) {
      break;
    }
  }
  int status = 0;
  while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace diffllama::cli_test
