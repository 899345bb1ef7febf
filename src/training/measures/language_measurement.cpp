#include "training/measures/language_measurement.h"

#include <cmath>
#include <cstddef>
#include <numbers>
#include <utility>

#include "model/heads/losses.h"
#include "model/heads/targets.h"

namespace diffllama {

TokenByteCounts token_bytes_of(const Tokenizer& tokenizer) {
  TokenByteCounts bytes;
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes.push_back(static_cast<std::int32_t>(tokenizer.token_bytes(id).size()));
  }
  return bytes;
}

LanguageMeasurement::LanguageMeasurement(std::shared_ptr<const TokenByteCounts> token_bytes,
                                         PredictionSink sink)
    : token_bytes_(std::move(token_bytes)), sink_(std::move(sink)) {}

void LanguageMeasurement::add(const MeasuredBatch& batch) {
  const Tensor& given = *batch.inputs.labels;
  std::int64_t tokens = 0;
  for (const std::int64_t label : next_token_labels(given, given.shape()[0], given.shape()[1])) {
    if (label == kIgnoreLabel) continue;
    ++tokens;
    if (token_bytes_) bytes_ += (*token_bytes_)[static_cast<std::size_t>(label)];
  }
  negative_log_likelihood_ += double{*batch.output.loss} * static_cast<double>(tokens);
  tokens_ += tokens;
  if (sink_) {
    sink_({{"first_example", batch.examples.front()},
           {"examples", batch.examples.size()},
           {"negative_log_likelihood", *batch.output.loss},
           {"tokens", tokens}});
  }
}

Measurement::Result LanguageMeasurement::result() {
  Result result;
  result.measures = {
      {"perplexity", std::exp(negative_log_likelihood_ / static_cast<double>(tokens_))}};
  if (bytes_ > 0) {
    result.measures.push_back({"bits_per_byte", negative_log_likelihood_ / std::numbers::ln2 /
                                                    static_cast<double>(bytes_)});
  }
  return result;
}

}  // namespace diffllama
