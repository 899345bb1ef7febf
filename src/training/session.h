#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "training/recipe.h"
#include "training/trainer.h"

namespace diffllama {

/// What a run is, once model and data are there.
struct SessionFacts {
  std::int64_t parameters = 0;  // of the model, an adapter's included
  std::int64_t trained = 0;     // of them
  std::int64_t examples = 0, validation_examples = 0;
  std::int64_t max_steps = 0;
  std::int64_t first_step = 0, first_tokens = 0;  // done before, by the run that is resumed
};

struct SessionOptions {
  /// Goes on from the newest whole checkpoint of output_dir, or begins where there is none. Without
  /// it a directory that has checkpoints is refused.
  bool resume = false;
  int threads = 0;  // 0: one per core; never changes a result
  /// Operations that this machine can do in a second in that type; absent: no mfu.
  std::function<double(ComputeType, const Parallel&)> measure_peak;
  WarningHandler warn;
  std::function<void(const std::string&)> notice;  // one line for people
  /// While text is tokenised: bytes done, bytes of all (0: unknown), tokens.
  std::function<void(std::uint64_t, std::uint64_t, std::int64_t)> on_tokens;
  std::function<void(const SessionFacts&)> on_start;
  TrainerHooks hooks;  // but for write_model
};

/// How a run ended.
struct SessionEnd {
  bool finished = false;             // false: it was asked to stop, and saved
  std::filesystem::path checkpoint;  // its last; empty where it has none
};

/// What every token is multiplied with, times 6: two operations forward and four backward for each
/// value of the layers' matrices and the head; times 4 where these are frozen, as under an adapter,
/// whose own products are not counted. A look-up costs none.
double operations_per_token(const ModelConfig& config, bool frozen);

/// Does what a recipe says: model, data, training, checkpoints, metrics.jsonl and recipe.json in
/// checkpoints.output_dir. Throws IoError, FormatError, ConfigError, InvalidArgument,
/// TrainingError; ConfigError also where a run that is resumed had another model.
SessionEnd run_training(const Recipe& recipe, const SessionOptions& options);

}  // namespace diffllama
