#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace diffllama {

/// A loss after so many tokens.
struct LossPoint {
  std::int64_t tokens = 0;
  double loss = 0;
};

/// One run of a comparison.
struct ComparedRun {
  std::string member;
  std::int64_t seed = 0, parameters = 0;
  double learning_rate = 0;
  std::vector<LossPoint> curve;  // training loss, means of up to 100 parts of the run
  bool validated = false;
  /// The last validation loss; without validation the mean of the last tenth of training.
  double final_loss = 0;
};

/// Reads metrics.jsonl. Throws IoError, FormatError; InvalidArgument for one without steps.
ComparedRun read_run(const std::filesystem::path& metrics);

/// A mean over seeds, and half the width of its 95 % confidence interval (Student's t); the width
/// is NaN for one seed.
struct Interval {
  double mean = 0, half_width = 0;
};
Interval confidence_interval(const std::vector<double>& values);

/// A member over all seeds. Differences are to the first member with the same seed.
struct ComparedMemberResult {
  std::string name;
  std::int64_t parameters = 0;
  double learning_rate = 0;
  std::vector<std::int64_t> seeds;
  std::vector<double> final_losses;
  Interval final_loss, difference;
  std::vector<std::int64_t> tokens;  // of the curves
  std::vector<Interval> curve, difference_curve;
};

struct ComparisonResult {
  bool validated = false;
  std::vector<ComparedMemberResult> members;
};

/// Of runs in the order of members, the same seeds for each. Throws InvalidArgument where runs of
/// one seed did not see the same tokens.
ComparisonResult compare_runs(const std::vector<ComparedRun>& runs);

/// A table in Markdown.
std::string to_markdown(const ComparisonResult& result);
/// Everything, as JSON.
std::string to_json(const ComparisonResult& result);

}  // namespace diffllama
