#include "training/data/language_model_source.h"

#include <string>
#include <utility>
#include <vector>

#include "diffllama/error.h"
#include "model/heads/losses.h"

namespace diffllama {

LanguageModelSource::LanguageModelSource(TokenShards corpus, std::int64_t sequence_length,
                                         Packing packing,
                                         std::shared_ptr<const TokenByteCounts> token_bytes)
    : corpus_(std::move(corpus)),
      sequence_length_(sequence_length),
      packing_(packing),
      token_bytes_(std::move(token_bytes)) {
  if (sequence_length < 2) {
    throw InvalidArgument("[sequence_length] expected 2 or more, got " +
                          std::to_string(sequence_length));
  }
  if (corpus_.tokens() < sequence_length) {
    throw InvalidArgument("[corpus] expected at least the " + std::to_string(sequence_length) +
                          " tokens of one sequence, got " + std::to_string(corpus_.tokens()));
  }
}

std::int64_t LanguageModelSource::size() const { return corpus_.tokens() / sequence_length_; }

std::unique_ptr<Measurement> LanguageModelSource::measurement(PredictionSink sink) const {
  return std::make_unique<LanguageMeasurement>(token_bytes_, std::move(sink));
}

ForwardInputs LanguageModelSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  const Shape shape = {static_cast<std::int64_t>(examples.size()), sequence_length_};
  ForwardInputs inputs;
  inputs.input_ids.emplace(DType::int64, shape);
  for (std::size_t row = 0; row < examples.size(); ++row) {
    const auto width = static_cast<std::size_t>(sequence_length_);
    corpus_.copy_tokens(examples[row] * sequence_length_,
                        inputs.input_ids->i64().subspan(row * width, width));
  }
  inputs.labels = inputs.input_ids;
  if (packing_ == Packing::plain) return inputs;

  inputs.position_ids.emplace(DType::int64, shape);
  for (std::size_t row = 0; row < examples.size(); ++row) {
    const auto width = static_cast<std::size_t>(sequence_length_);
    const auto labels = inputs.labels->i64().subspan(row * width, width);
    const auto positions = inputs.position_ids->i64().subspan(row * width, width);
    const std::vector<std::int64_t> starts =
        corpus_.document_starts(examples[row] * sequence_length_, sequence_length_);
    for (const std::int64_t start : starts) labels[static_cast<std::size_t>(start)] = kIgnoreLabel;
    std::size_t next = 0;
    std::int64_t position = 0;
    for (std::size_t t = 0; t < width; ++t, ++position) {
      if (next < starts.size() && starts[next] == static_cast<std::int64_t>(t)) {
        position = 0;
        ++next;
      }
      positions[t] = position;
    }
  }
  return inputs;
}

}  // namespace diffllama
