#pragma once

#include <cstddef>
#include <filesystem>

namespace diffllama {

/// Lets the signals that end a program (SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM) remove what is
/// unfinished first, files as large as a model among it; the program then dies of the signal as if
/// nobody had caught it. A signal that is ignored (nohup) stays ignored. SIGXFSZ is ignored from
/// now on: write() then fails as it does on a full disk, with an error that names the file. For
/// main(), before there are threads; a library leaves signals alone.
void clean_up_on_signals();

/// What the handler does: removes what is unfinished and dies of the signal. Async-signal-safe, for
/// handlers that have more to do.
[[noreturn]] void clean_up_and_die(int signal) noexcept;

/// While it lives, `path` is removed before one of those signals ends the program: a file, or a
/// directory with the files in it.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(const std::filesystem::path& path) noexcept;
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  std::size_t slot_;
};

}  // namespace diffllama
