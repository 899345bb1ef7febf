#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

namespace diffllama::cli {

Progress::Progress(std::uint64_t total, std::string unit)
    : total_(total),
      unit_(std::move(unit)),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

void Progress::update(std::uint64_t done, std::int64_t count, const std::string& note) {
  const auto now = Clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
  if (now - last_ < interval) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double share =
      total_ == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  std::string line;
  if (terminal_) {
    constexpr int kWidth = 30;
    const auto filled = static_cast<std::size_t>(share * kWidth);
    line = "\r[" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "] ";
  }
  char text[128];
  std::snprintf(text, sizeof text, "%3.0f %%, %lld %s, %.0f a second, %.0f s left", 100 * share,
                static_cast<long long>(count), unit_.c_str(), static_cast<double>(count) / seconds,
                share > 0 ? seconds * (1 - share) / share : 0);
  line += text;
  if (!note.empty()) line += ", " + note;
  line += terminal_ ? "\x1b[K" : "\n";
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  drawn_ = terminal_;
}

std::function<void(std::uint64_t done, std::uint64_t total)> write_progress() {
  auto progress = std::make_shared<std::unique_ptr<Progress>>();  // starts with the first bytes
  return [progress](std::uint64_t done, std::uint64_t total) {
    if (!*progress) *progress = std::make_unique<Progress>(total, "MiB");
    (*progress)->update(done, static_cast<std::int64_t>(done >> 20));
  };
}

}  // namespace diffllama::cli
