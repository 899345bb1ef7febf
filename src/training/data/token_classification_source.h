#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/tokenizer.h"
#include "training/data/conllu.h"
#include "training/data/example_source.h"
#include "training/data/token_rows.h"

namespace diffllama {

struct TokenClassificationOptions {
  std::vector<std::string> labels;  // the model's: config.labels
  ConlluColumn column = ConlluColumn::upos;
  std::int64_t max_length = 512;  // tokens; longer sentences lose their end
  std::optional<std::int64_t> pad_token_id;
};

/// Tagged sentences, in memory as tokens: each word's own tokens (WordEncoder) between the
/// post-processor's special tokens. A word's first token carries its tag; others, and words without
/// a tag (_), have label -100.
class TokenClassificationSource : public ExampleSource {
 public:
  /// `files` in CoNLL-U. Throws IoError, FormatError "PATH:LINE: ..." for broken lines and tags
  /// that the model does not have, InvalidArgument.
  TokenClassificationSource(const std::vector<std::filesystem::path>& files,
                            const Tokenizer& tokenizer, const TokenClassificationOptions& options,
                            const Parallel& parallel);

  std::int64_t size() const override { return rows_.size(); }
  /// input_ids, attention_mask and labels [B, longest], padded on the right, labels with -100.
  ForwardInputs collate(std::span<const std::int64_t> examples) const override;
  std::int64_t tokens(std::int64_t example) const override { return rows_.length(example); }
  std::int64_t cut() const override { return cut_; }

 private:
  TokenRows rows_, labels_;
  std::int64_t cut_ = 0;
  std::optional<std::int64_t> pad_token_id_;
};

}  // namespace diffllama
