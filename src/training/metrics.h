#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "diffllama/training.h"

namespace diffllama {

/// One line each, without its end. The first has "step", "loss", "learning_rate", "gradient_norm",
/// ... and lists by layer: "lambda", "rms", "smallest_rms" (DiffLlama); the second "step",
/// "eval_loss" and the measures, "eval_accuracy", ...
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
