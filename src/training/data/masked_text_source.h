#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/chat.h"
#include "diffllama/tokenizer.h"
#include "training/data/example_source.h"
#include "training/data/masked_text.h"
#include "training/data/rows.h"
#include "training/data/token_rows.h"
#include "training/measures/language_measurement.h"

namespace diffllama {

struct MaskedTextOptions {
  /// Of conversations; nothing: prompts and completions.
  std::optional<ChatTemplate> chat_template;
  std::string messages_column = "messages", prompt_column = "prompt",
              completion_column = "completion";
  std::int64_t max_length = 512;                       // tokens; longer texts lose their end
  std::shared_ptr<const TokenByteCounts> token_bytes;  // for measurement(); may be null
};

/// Texts of which the loss counts a part, in memory as tokens, one an example.
class MaskedTextSource : public ExampleSource {
 public:
  /// `files` as RowReader reads them. Throws IoError, and FormatError for rows that are none, which
  /// `bad_rows` lets pass as far as it may; one whose labels are cut off is one of them.
  MaskedTextSource(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
                   const MaskedTextOptions& options, const Parallel& parallel, BadRows& bad_rows);

  std::int64_t size() const override { return rows_.size(); }
  /// input_ids, position_ids and labels [1, N], packed.
  ForwardInputs collate(std::span<const std::int64_t> examples) const override;
  std::int64_t tokens(std::int64_t example) const override { return rows_.length(example); }
  std::int64_t cut() const override { return cut_; }
  std::unique_ptr<Measurement> measurement(PredictionSink sink) const override;

 private:
  TokenRows rows_, labels_;
  std::int64_t cut_ = 0;
  std::shared_ptr<const TokenByteCounts> token_bytes_;
};

}  // namespace diffllama
