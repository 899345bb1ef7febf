#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace diffllama::cli_test {

/// The program on a pseudo-terminal, as a person at the keyboard has it.
class Terminal {
 public:
  /// Starts `diffllama ARGUMENTS`.
  explicit Terminal(const std::vector<std::string>& arguments);
  /// Ends it, if it still runs.
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) const;
  /// Reads on until `text` has come since the last call; false where the program ends before.
  bool wait_for(const std::string& text);
  /// All that came so far.
  const std::string& screen() const { return screen_; }
  /// The exit status, once the program has ended by itself; minus the signal that ended it.
  int exit_status(const std::string& keys);

 private:
  bool read_more();

  int terminal_ = -1;
  pid_t process_ = -1;
  std::string screen_;
  std::size_t seen_ = 0;
};

}  // namespace diffllama::cli_test
