#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "diffllama/config.h"
#include "training/trainer_state.h"

namespace diffllama {

/// What a checkpoint is made of.
struct CheckpointContent {
  TrainerState state;
  /// Writes the model as transformers (or PEFT) does into an empty directory, each file flushed.
  std::function<void(const std::filesystem::path& directory)> write_model;
  std::vector<TensorSource> optimizer;  // optimizer.safetensors (training/optimizer_state.h)
};

struct SavedCheckpoint {
  std::filesystem::path path;
  TrainerState state;
};

/// The directory of a run: OUTPUT_DIR/checkpoint-STEP as transformers names them, and links `last`
/// and `best` to two of them. A checkpoint appears under its name when all of it is on the disk:
/// whatever ends the process, those that were there before are whole.
class RunDirectory {
 public:
  /// Makes the directory where it is absent, locks it against other runs, and removes what a killed
  /// run left half written. Directories that it made and that nothing came into go with it. Throws
  /// IoError.
  explicit RunDirectory(std::filesystem::path directory);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return directory_; }
  std::filesystem::path checkpoint(std::int64_t step) const;
  /// Of the checkpoints that are there, ascending.
  std::vector<std::int64_t> steps() const;

  /// Adds checkpoint-STEP, with a checksum of each of its files; then removes the oldest but
  /// `limit` (0: none) and but the best. Throws IoError when the disk is full: nothing of the new
  /// one stays and nothing is removed.
  void save(const CheckpointContent& content, std::int64_t limit) const;
  /// Puts another state into checkpoint-STEP of that state, once an evaluation came behind it: its
  /// other files stay as they are, the links and what is removed follow as in save(). Throws
  /// IoError, FormatError.
  void update(const TrainerState& state, std::int64_t limit) const;
  /// What save() and update() end with: links `last` and `best`, and the removal of the oldest. A
  /// run that goes on begins with it, since one that was killed may not have come so far. Throws
  /// IoError.
  void link_and_remove(const TrainerState& state, std::int64_t limit) const;
  /// The newest that is whole; a broken one is warned of by name and passed over. Throws
  /// FormatError when there are some and all are broken.
  std::optional<SavedCheckpoint> newest(const WarningHandler& warn) const;

 private:
  void remove_checkpoint(const std::filesystem::path& path) const;
  void link(const char* name, std::int64_t step) const;

  std::filesystem::path directory_;
  std::vector<std::filesystem::path> made_;  // this one and those above, deepest first
  int lock_ = -1;
};

/// Reads trainer_state.json and verifies every file of the checkpoint. Throws IoError, FormatError
/// that name the file.
TrainerState verify_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace diffllama
