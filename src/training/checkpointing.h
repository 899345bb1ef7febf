#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "diffllama/config.h"
#include "training/optimizer.h"
#include "training/parameter_layout.h"

namespace diffllama {

/// Where a run stands; names in trainer_state.json are transformers' where it has one. Data and
/// dropout need no more than the step: they are pure functions of it and the recipe's seed.
struct TrainerState {
  std::int64_t step = 0;             // "global_step": steps done
  std::int64_t optimizer_steps = 0;  // fewer, where a step's labels counted nothing
  std::int64_t tokens = 0;           // "num_input_tokens_seen"
  std::optional<double> best_loss;   // "best_metric": lowest evaluation loss
  std::int64_t best_step = 0;        // "best_global_step"
  double mean_loss = 0;              // running mean, for the alarm
  std::int64_t mean_count = 0;       // losses in it
  std::string recipe;                // the effective recipe, JSON
};

/// What a checkpoint is made of.
struct CheckpointContent {
  TrainerState state;
  /// Writes the model as transformers (or PEFT) does into an empty directory, each file flushed.
  std::function<void(const std::filesystem::path& directory)> write_model;
  std::vector<TensorSource> optimizer;  // optimizer.safetensors
};

struct SavedCheckpoint {
  std::filesystem::path path;
  TrainerState state;
};

/// The directory of a run: OUTPUT_DIR/checkpoint-STEP as transformers names them, and links `last`
/// and `best` to two of them. A checkpoint appears under its name when all of it is on the disk:
/// whatever ends the process, those that were there before are whole.
class CheckpointDirectory {
 public:
  /// Makes the directory where it is absent, locks it against other runs, and removes what a killed
  /// run left half written. Throws IoError.
  explicit CheckpointDirectory(std::filesystem::path directory);
  ~CheckpointDirectory();
  CheckpointDirectory(const CheckpointDirectory&) = delete;
  CheckpointDirectory& operator=(const CheckpointDirectory&) = delete;

  const std::filesystem::path& path() const { return directory_; }
  std::filesystem::path checkpoint(std::int64_t step) const;
  /// Of the checkpoints that are there, ascending.
  std::vector<std::int64_t> steps() const;

  /// Adds checkpoint-STEP, with a checksum of each of its files; then removes the oldest but
  /// `limit` (0: none) and but the best. Throws IoError when the disk is full: nothing of the new
  /// one stays and nothing is removed.
  void save(const CheckpointContent& content, std::int64_t limit) const;
  /// The newest that is whole; a broken one is warned of by name and passed over. Throws
  /// FormatError when there are some and all are broken.
  std::optional<SavedCheckpoint> newest(const WarningHandler& warn) const;

 private:
  void remove_checkpoint(const std::filesystem::path& path) const;
  void link(const char* name, std::int64_t step) const;

  std::filesystem::path directory_;
  int lock_ = -1;
};

/// Reads trainer_state.json and verifies every file of the checkpoint. Throws IoError, FormatError
/// that name the file.
TrainerState verify_checkpoint(const std::filesystem::path& checkpoint);

/// The optimizer's state by parameter name: exp_avg.NAME and exp_avg_sq.NAME, and, unless `values`
/// is empty, the float32 values as master.NAME. Borrows all of them.
std::vector<TensorSource> optimizer_tensors(const ParameterLayout& layout, AdamW& optimizer,
                                            std::span<const float> values);

/// Takes state and values back from a checkpoint: master.NAME, or, where there is none, the float32
/// parameters of its model.safetensors. Throws IoError, FormatError naming the first tensor that is
/// missing or of another shape.
void load_optimizer(const std::filesystem::path& checkpoint, const ParameterLayout& layout,
                    AdamW& optimizer, std::span<float> values);

}  // namespace diffllama
