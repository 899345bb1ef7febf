#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "diffllama/tokenizer.h"
#include "training/measures/measurement.h"

namespace diffllama {

/// How many bytes of text each token stands for, by id; 0 for special tokens.
using TokenByteCounts = std::vector<std::int32_t>;
TokenByteCounts token_bytes_of(const Tokenizer& tokenizer);

/// Language modelling, over the tokens that are predicted: perplexity, and bits_per_byte of their
/// text where the tokens' bytes are known.
class LanguageMeasurement : public Measurement {
 public:
  /// `token_bytes` may be null.
  LanguageMeasurement(std::shared_ptr<const TokenByteCounts> token_bytes, PredictionSink sink);

  void add(const MeasuredBatch& batch) override;
  Result result() override;

 private:
  std::shared_ptr<const TokenByteCounts> token_bytes_;
  PredictionSink sink_;
  double negative_log_likelihood_ = 0;
  std::int64_t tokens_ = 0, bytes_ = 0;
};

}  // namespace diffllama
