#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace diffllama::cli {

/// Progress of long work on stderr: on a terminal a bar with rate and time left, elsewhere a plain
/// line every ten seconds.
class Progress {
 public:
  /// `total` steps of work (0: unknown); `unit` names what `update` counts, "tokens".
  Progress(std::uint64_t total, std::string unit);
  /// Clears the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total` steps; `count` units so far; `note` goes behind them.
  void update(std::uint64_t done, std::int64_t count, const std::string& note = {});
  /// Clears the bar, so that a line can be written; the next update draws it again.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::uint64_t total_;
  std::string unit_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_, last_;
};

/// Shows bytes of a file that is written, of all: a Progress that lives as long as the callback.
std::function<void(std::uint64_t done, std::uint64_t total)> write_progress();

}  // namespace diffllama::cli
