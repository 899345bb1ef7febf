#include "training/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "base/atomic_file.h"
#include "base/regular_file.h"
#include "base/unfinished_directory.h"
#include "checkpoint/safetensors/safetensors.h"
#include "diffllama/error.h"
#include "training/optimizer_state.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kUnfinished = ".unfinished";  // being linked, or being removed

void require(const std::error_code& error, const fs::path& path, const char* what) {
  if (error) throw IoError(path.string() + ": cannot " + what + ": " + error.message());
}

// The step that a directory's name gives; nothing for any other name.
std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* first = name.data() + kPrefix.size();
  const char* last = name.data() + name.size();
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(first, last, step);
  if (error != std::errc() || end != last || step < 0) return std::nullopt;
  return std::string(kPrefix) + std::to_string(step) == name ? std::optional(step) : std::nullopt;
}

// ".NAME.unfinished"
fs::path unfinished_name(const std::string& name) {
  std::string hidden(1, '.');
  hidden += name;
  hidden += kUnfinished;
  return hidden;
}

// A run that was just killed may hold its lock for some moments more.
bool lock_directory(int directory) {
  constexpr int kTries = 100;
  for (int i = 0; ::flock(directory, LOCK_EX | LOCK_NB) != 0; ++i) {
    if (errno != EWOULDBLOCK) return true;  // a file system without locks
    if (i == kTries) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

// Makes the directory, and those above it, where they are absent: gives these, deepest first.
std::vector<fs::path> make_directories(const fs::path& directory) {
  std::vector<fs::path> absent;
  std::error_code error;
  for (fs::path path = directory; !path.empty() && !fs::exists(path, error);
       path = path.parent_path()) {
    absent.push_back(path);
  }
  fs::create_directories(directory, error);
  require(error, directory, "create");
  return absent;
}

// Opens the directory, for this run alone.
int open_locked(const fs::path& directory) {
  const int lock = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock < 0) require({errno, std::generic_category()}, directory, "open");
  if (lock_directory(lock)) return lock;
  ::close(lock);
  throw IoError(directory.string() + ": expected a directory of this run alone, got one that " +
                "another run is writing to");
}

StoredTrainerState read_trainer_state(const fs::path& file) {
  return parse_trainer_state(read_file(file), file.string());
}

void verify_file(const fs::path& file, const std::string& checksum) {
  const std::string found = file_checksum(file);
  if (found == checksum) return;
  throw FormatError(file.string() + ": expected checksum " + checksum + ", got " + found);
}

}  // namespace

RunDirectory::RunDirectory(fs::path directory)
    : directory_(std::move(directory)),
      made_(make_directories(directory_)),
      lock_(open_locked(directory_)) {
  remove_leftovers(directory_);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(".") && name.ends_with(kUnfinished)) {
      fs::remove_all(entry.path(), error);
      require(error, entry.path(), "remove");
    }
  }
}

RunDirectory::~RunDirectory() {
  std::error_code ignored;
  for (const fs::path& path : made_) fs::remove(path, ignored);  // only where it is empty
  ::close(lock_);
}

fs::path RunDirectory::checkpoint(std::int64_t step) const {
  return directory_ / (std::string(kPrefix) + std::to_string(step));
}

std::vector<std::int64_t> RunDirectory::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto step = step_of(entry->path().filename());
    if (step && fs::is_directory(entry->path())) steps.push_back(*step);
  }
  require(error, directory_, "read");
  std::ranges::sort(steps);
  return steps;
}

void RunDirectory::save(const CheckpointContent& content, std::int64_t limit) const {
  const std::int64_t step = content.state.step;
  const fs::path path = checkpoint(step);
  UnfinishedDirectory directory(path);
  directory.fill([&](const fs::path& unfinished) {
    content.write_model(unfinished);
    write_safetensors(unfinished / kOptimizerFile, content.optimizer);
    // Last, since it vouches for all others.
    write_file_atomically(unfinished / kTrainerStateFile,
                          write_trainer_state(content.state, checksums(unfinished)));
  });
  if (fs::exists(path)) remove_checkpoint(path);  // a broken one that the run was resumed before
  directory.commit();
  link_and_remove(content.state, limit);
}

void RunDirectory::update(const TrainerState& state, std::int64_t limit) const {
  const fs::path file = checkpoint(state.step) / kTrainerStateFile;
  write_file_atomically(file, write_trainer_state(state, read_trainer_state(file).files));
  link_and_remove(state, limit);
}

void RunDirectory::link_and_remove(const TrainerState& state, std::int64_t limit) const {
  link("last", state.step);
  if (state.best_step != 0) link("best", state.best_step);
  if (limit == 0) return;
  const std::vector<std::int64_t> saved = steps();
  auto surplus = static_cast<std::int64_t>(saved.size()) - limit;
  for (const std::int64_t old : saved) {
    if (surplus-- <= 0) break;
    if (old != state.best_step && old != state.step) remove_checkpoint(checkpoint(old));
  }
}

// A removal that is cut short must not leave a part under the checkpoint's name.
void RunDirectory::remove_checkpoint(const fs::path& path) const {
  const fs::path doomed = directory_ / unfinished_name(path.filename().string() + ".old");
  std::error_code error;
  fs::rename(path, doomed, error);
  require(error, path, "rename for its removal");
  fs::remove_all(doomed, error);
  require(error, path, "remove");
}

void RunDirectory::link(const char* name, std::int64_t step) const {
  if (!fs::exists(checkpoint(step))) return;
  const fs::path fresh = directory_ / unfinished_name(name);
  std::error_code error;
  fs::remove(fresh, error);
  fs::create_directory_symlink(checkpoint(step).filename(), fresh, error);
  if (!error) fs::rename(fresh, directory_ / name, error);
  require(error, directory_ / name, "link to the checkpoint");
}

std::optional<SavedCheckpoint> RunDirectory::newest(const WarningHandler& warn) const {
  std::vector<std::int64_t> saved = steps();
  std::ranges::reverse(saved);
  std::string broken;
  for (const std::int64_t step : saved) {
    const fs::path path = checkpoint(step);
    try {
      TrainerState state = verify_checkpoint(path);
      if (state.step != step) {
        throw FormatError((path / kTrainerStateFile).string() + ": expected global_step " +
                          std::to_string(step) + ", got " + std::to_string(state.step));
      }
      return SavedCheckpoint{path, std::move(state)};
    } catch (const Error& error) {
      broken = error.what();
      if (warn) warn(broken + "; passing over this checkpoint");
    }
  }
  if (!broken.empty()) throw FormatError(broken + "; no other checkpoint is whole");
  return std::nullopt;
}

TrainerState verify_checkpoint(const fs::path& checkpoint) {
  const StoredTrainerState stored = read_trainer_state(checkpoint / kTrainerStateFile);
  for (const auto& [name, checksum] : stored.files) verify_file(checkpoint / name, checksum);
  return stored.state;
}

}  // namespace diffllama
