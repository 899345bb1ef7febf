#include "base/signals.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <string>
#include <string_view>

namespace diffllama {
namespace {

constexpr std::array kEnding = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM};

// A path that a handler may read at any moment, so it lies in memory that is never freed.
struct Slot {
  std::atomic<pid_t> owner;  // 0: free. After a fork the child's copy is still the parent's
  std::atomic<bool> filled;
  std::array<char, 4096> path;
};

// A handler reaches nothing but globals. More unfinished paths at once than slots are left to the
// next run. NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::array<Slot, 64> slots;
std::atomic<bool> dying = false;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

// The files of a directory, not what lies deeper: no function of the library that lists names may
// be called by a handler.
void remove_directory(const char* path) noexcept {
  const int directory = ::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return;
  alignas(dirent64) std::array<char, 4096> names;
  // A listing may pass over names while others are removed, so it is read until it gives none.
  for (bool removed = true; removed;) {
    removed = false;
    ::lseek(directory, 0, SEEK_SET);
    for (ssize_t size = 0; (size = ::getdents64(directory, names.data(), names.size())) > 0;) {
      for (ssize_t at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const dirent64*>(names.data() + at);
        at += entry->d_reclen;
        removed = ::unlinkat(directory, entry->d_name, 0) == 0 || removed;
      }
    }
  }
  ::close(directory);
  ::rmdir(path);
}

extern "C" void end_program(int signal) { clean_up_and_die(signal); }

}  // namespace

void clean_up_and_die(int signal) noexcept {
  dying = true;
  const pid_t process = ::getpid();
  for (Slot& slot : slots) {
    if (slot.owner != process || !slot.filled) continue;
    if (::unlink(slot.path.data()) != 0) remove_directory(slot.path.data());
  }
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  std::raise(signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);  // it is blocked while its handler runs
  ::_exit(128 + signal);
}

void clean_up_on_signals() {
  struct sigaction action {};
  action.sa_handler = end_program;
  sigfillset(&action.sa_mask);
  for (const int signal : kEnding) {
    struct sigaction old {};
    if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler != SIG_IGN) {
      ::sigaction(signal, &action, nullptr);
    }
  }
  std::signal(SIGXFSZ, SIG_IGN);
}

RemovedOnSignal::RemovedOnSignal(const std::filesystem::path& path) noexcept : slot_(slots.size()) {
  const std::string& name = path.native();
  if (name.size() >= slots.front().path.size()) return;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    pid_t free = 0;
    if (!slots[i].owner.compare_exchange_strong(free, ::getpid())) continue;
    slot_ = i;
    // Once the handler has begun to read the slots, no path may change, and none be added.
    while (dying) ::pause();
    std::memcpy(slots[i].path.data(), name.c_str(), name.size() + 1);
    slots[i].filled = true;
    return;
  }
}

RemovedOnSignal::~RemovedOnSignal() {
  if (slot_ == slots.size()) return;
  slots[slot_].filled = false;
  slots[slot_].owner = 0;
}

}  // namespace diffllama
