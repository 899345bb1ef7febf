#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/tokenizer.h"
#include "training/data/example_source.h"
#include "training/data/labelled_texts.h"
#include "training/data/token_rows.h"

namespace diffllama {

struct SequenceClassificationOptions {
  std::vector<std::string> labels;  // the model's: config.labels
  /// Absent: by transformers' rule. One label is regression, lists of classes are several labels,
  /// all else is one label of many.
  std::optional<ProblemType> problem_type;
  std::int64_t max_length = 512;  // tokens; longer texts lose their end, of a pair the longer one
  TextColumns columns;
  std::optional<LabelLists> lists;
};

/// Texts with labels, in memory as tokens: as the tokenizer encodes a text, or a pair of them.
class SequenceClassificationSource : public ExampleSource {
 public:
  /// `files` as LabelledTextReader reads them. Throws IoError, FormatError "PATH:LINE: ..." for
  /// broken rows, texts without tokens and labels that the model does not have, which `bad_rows`
  /// lets pass as far as it may, and InvalidArgument.
  SequenceClassificationSource(const std::vector<std::filesystem::path>& files,
                               const Tokenizer& tokenizer,
                               const SequenceClassificationOptions& options,
                               const Parallel& parallel, BadRows& bad_rows);

  std::int64_t size() const override { return rows_.size(); }
  /// input_ids and position_ids [1, N], packed; labels int64 [B] for one label of many, float32 [B]
  /// for one number, float32 [B, num_labels] else.
  ForwardInputs collate(std::span<const std::int64_t> examples) const override;
  std::int64_t tokens(std::int64_t example) const override { return rows_.length(example); }
  std::int64_t cut() const override { return cut_; }
  std::unique_ptr<Measurement> measurement(PredictionSink sink) const override;

  ProblemType problem_type() const { return problem_type_; }

 private:
  TokenRows rows_;
  ProblemType problem_type_;
  std::vector<std::string> labels_;
  std::int64_t num_labels_;
  std::int64_t cut_ = 0;
  std::vector<std::int64_t> classes_;  // [N], one label of many
  std::vector<float> values_;          // [N, num_labels], else
};

}  // namespace diffllama
