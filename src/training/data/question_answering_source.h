#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "diffllama/tokenizer.h"
#include "training/data/example_source.h"
#include "training/data/squad.h"
#include "training/data/token_rows.h"
#include "training/measures/squad_measurement.h"

namespace diffllama {

struct QuestionAnsweringOptions {
  std::int64_t max_length = 384;  // tokens of a window, question and special tokens included
  std::int64_t doc_stride = 128;  // tokens of the context that neighbouring windows share
  SquadColumns columns;
  /// Keeps contexts and answers, which measurement() needs.
  bool measured = false;
  SquadMeasurementOptions measures;
};

/// Questions on contexts, in memory as tokens: the tokenizer's pair of the question and as much of
/// the context as fits; what is left of the context follows in windows of its own (as run_qa.py of
/// transformers has it). The positions are the tokens of the first answer, or both 0, the first
/// token, in a window that does not hold the whole answer and where there is none.
class QuestionAnsweringSource : public ExampleSource {
 public:
  /// `files` as read_squad reads them. Throws IoError, FormatError that names the place (a question
  /// so long that windows of the context would not go on, too), InvalidArgument.
  QuestionAnsweringSource(const std::vector<std::filesystem::path>& files,
                          const Tokenizer& tokenizer, const QuestionAnsweringOptions& options,
                          const Parallel& parallel, BadRows& bad_rows);

  /// Windows; a question may have several.
  std::int64_t size() const override { return rows_.size(); }
  /// input_ids and position_ids [1, N], packed; start_positions and
  /// end_positions [B].
  ForwardInputs collate(std::span<const std::int64_t> examples) const override;
  std::int64_t tokens(std::int64_t example) const override { return rows_.length(example); }
  /// Throws InvalidArgument unless options.measured.
  std::unique_ptr<Measurement> measurement(PredictionSink sink) const override;

 private:
  TokenRows rows_;
  bool measured_;
  SquadMeasurementOptions measures_;
  std::vector<MeasuredQuestion> questions_;
  std::vector<MeasuredWindow> windows_;
  std::vector<std::int64_t> starts_, ends_;
};

}  // namespace diffllama
