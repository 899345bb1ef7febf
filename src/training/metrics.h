#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "training/backward/model_backward.h"

namespace diffllama {

/// What one step of training shows.
struct StepMetrics {
  std::int64_t step = 0;  // from 1
  double epoch = 0;       // passes through the data so far
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  std::int64_t tokens = 0;   // so far
  double tokens_per_second = 0;
  std::optional<double> mfu;  // share of the machine's peak; where that is known
  bool skipped = false;       // no label counted: nothing was learned
  std::vector<LayerWatch> layers;
};

struct EvaluationMetrics {
  std::int64_t step = 0;
  double loss = 0;
  std::optional<double> accuracy;  // classification
};

/// One line each, without its end. The first has "step", "loss", "learning_rate", "gradient_norm",
/// ... and lists by layer: "lambda", "rms", "smallest_rms" (DiffLlama); the second "step",
/// "eval_loss" and, where there is one, "eval_accuracy".
std::string to_json_line(const StepMetrics& metrics);
std::string to_json_line(const EvaluationMetrics& metrics);

/// metrics.jsonl: lines are added at the end and flushed to the system at once.
class MetricsFile {
 public:
  /// Opens or makes it. Lines of steps after `last_step`, those of evaluations after
  /// `evaluated_step`, and a line that is cut short, are dropped first. Throws IoError.
  MetricsFile(std::filesystem::path path, std::int64_t last_step, std::int64_t evaluated_step);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  /// Throws IoError (disk full, ...).
  void add(std::string_view line);

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace diffllama
