#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/tokenizer.h"
#include "training/data/example_source.h"
#include "training/data/tagged_sentences.h"
#include "training/data/token_rows.h"

namespace diffllama {

struct TokenClassificationOptions {
  std::vector<std::string> labels;  // the model's: config.labels
  TagFormat format;
  std::int64_t max_length = 512;  // tokens; longer sentences lose their end
};

/// Tagged sentences, in memory as tokens: each word's own tokens (WordEncoder) between the
/// post-processor's special tokens. A word's first token carries its tag; others, and words without
/// one, have label -100.
class TokenClassificationSource : public ExampleSource {
 public:
  /// Throws IoError, FormatError "PATH:LINE: ..." for broken sentences and tags that the model does
  /// not have, which `bad_rows` lets pass as far as it may, and InvalidArgument.
  TokenClassificationSource(const std::vector<std::filesystem::path>& files,
                            const Tokenizer& tokenizer, const TokenClassificationOptions& options,
                            const Parallel& parallel, BadRows& bad_rows);

  std::int64_t size() const override { return rows_.size(); }
  /// input_ids, position_ids and labels [1, N], packed.
  ForwardInputs collate(std::span<const std::int64_t> examples) const override;
  std::int64_t tokens(std::int64_t example) const override { return rows_.length(example); }
  std::int64_t cut() const override { return cut_; }
  std::unique_ptr<Measurement> measurement(PredictionSink sink) const override;

 private:
  std::vector<std::string> names_;
  TokenRows rows_, labels_;
  std::int64_t cut_ = 0;
};

}  // namespace diffllama
