#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "diffllama/tokenizer.h"
#include "training/measures/measurement.h"

namespace diffllama {

/// What a question's windows are measured by.
struct MeasuredQuestion {
  std::string id;
  std::shared_ptr<const std::string> context;
  std::vector<std::string> answers;  // none: the context holds none
  std::vector<TokenOffset> offsets;  // bytes of the context, of each of its tokens
};

/// A window: tokens [context_at, context_at + count) are those of the context from `first` on.
struct MeasuredWindow {
  std::size_t question = 0, context_at = 0, count = 0, first = 0;
};

struct SquadMeasurementOptions {
  std::int64_t max_answer_length = 30;  // tokens; run_qa.py's default
  /// Where the empty answer's score (of a window's first token, the least over windows) exceeds the
  /// best span's by more than this, there is no answer. Absent: the best span always is one.
  double no_answer_threshold = 0;
};

/// Question answering: exact_match and f1 in percent by SQuAD's rules, of the span with the highest
/// sum of logits over a question's windows; where questions without an answer are among them, the
/// empty answer competes, and both are given for either kind of question, too (run_qa.py of
/// transformers with version_2_with_negative).
class SquadMeasurement : public Measurement {
 public:
  /// All must outlive it; windows[i] is example i.
  SquadMeasurement(const std::vector<MeasuredQuestion>& questions,
                   const std::vector<MeasuredWindow>& windows,
                   const SquadMeasurementOptions& options, PredictionSink sink);

  void add(const MeasuredBatch& batch) override;
  Result result() override;

 private:
  /// The best of a question so far.
  struct Best {
    bool seen = false, spans = false;
    double score = 0, null_score = 0;
    std::size_t begin = 0, end = 0;  // bytes
  };
  void add_window(const MeasuredWindow& window, std::span<const float> start,
                  std::span<const float> end);
  std::string prediction(std::size_t question) const;

  const std::vector<MeasuredQuestion>& questions_;
  const std::vector<MeasuredWindow>& windows_;
  SquadMeasurementOptions options_;
  PredictionSink sink_;
  bool some_without_answer_;
  std::vector<Best> best_;
};

}  // namespace diffllama
