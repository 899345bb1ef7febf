#include "training/data/language_model_source.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "diffllama/error.h"
#include "model/heads/losses.h"

namespace diffllama {

LanguageModelSource::LanguageModelSource(TokenShards corpus, std::int64_t sequence_length,
                                         Packing packing,
                                         std::shared_ptr<const TokenByteCounts> token_bytes,
                                         LastWindow last)
    : corpus_(std::move(corpus)),
      sequence_length_(sequence_length),
      packing_(packing),
      last_(last),
      token_bytes_(std::move(token_bytes)) {
  if (sequence_length < 2) {
    throw InvalidArgument("[sequence_length] expected 2 or more, got " +
                          std::to_string(sequence_length));
  }
  const std::int64_t fewest = last == LastWindow::kept ? 2 : sequence_length;
  if (corpus_.tokens() < fewest) {
    throw InvalidArgument("[corpus] expected at least the " + std::to_string(fewest) +
                          " tokens of one sequence, got " + std::to_string(corpus_.tokens()));
  }
}

std::int64_t LanguageModelSource::size() const {
  const std::int64_t whole = corpus_.tokens() / sequence_length_;
  const bool shorter = last_ == LastWindow::kept && corpus_.tokens() % sequence_length_ >= 2;
  return whole + (shorter ? 1 : 0);
}

std::int64_t LanguageModelSource::tokens(std::int64_t example) const {
  return std::min(sequence_length_, corpus_.tokens() - example * sequence_length_);
}

std::unique_ptr<Measurement> LanguageModelSource::measurement(PredictionSink sink) const {
  return std::make_unique<LanguageMeasurement>(token_bytes_, std::move(sink));
}

ForwardInputs LanguageModelSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  std::int64_t total = 0;
  for (const std::int64_t example : examples) total += tokens(example);
  const std::int64_t width = tokens(examples[0]);
  const bool joined =
      std::ranges::any_of(examples, [&](std::int64_t example) { return tokens(example) != width; });
  const Shape shape = joined ? Shape{1, total} : Shape{std::ssize(examples), width};
  ForwardInputs inputs;
  inputs.input_ids.emplace(DType::int64, shape);
  std::size_t at = 0;
  for (const std::int64_t example : examples) {
    const auto count = static_cast<std::size_t>(tokens(example));
    corpus_.copy_tokens(example * sequence_length_, inputs.input_ids->i64().subspan(at, count));
    at += count;
  }
  inputs.labels = inputs.input_ids;
  if (packing_ == Packing::plain && !joined) return inputs;

  inputs.position_ids.emplace(DType::int64, shape);
  at = 0;
  for (const std::int64_t example : examples) {
    const auto count = static_cast<std::size_t>(tokens(example));
    const auto labels = inputs.labels->i64().subspan(at, count);
    if (joined) labels[0] = kIgnoreLabel;  // which the window before it must not predict
    separate(example, labels, inputs.position_ids->i64().subspan(at, count));
    at += count;
  }
  return inputs;
}

// Labels and positions of a window.
void LanguageModelSource::separate(std::int64_t example, std::span<std::int64_t> labels,
                                   std::span<std::int64_t> positions) const {
  std::vector<std::int64_t> starts;
  if (packing_ == Packing::packed) {
    starts = corpus_.document_starts(example * sequence_length_, std::ssize(labels));
  }
  for (const std::int64_t start : starts) labels[static_cast<std::size_t>(start)] = kIgnoreLabel;
  std::size_t next = 0;
  std::int64_t position = 0;
  for (std::size_t t = 0; t < positions.size(); ++t, ++position) {
    if (next < starts.size() && starts[next] == static_cast<std::int64_t>(t)) {
      position = 0;
      ++next;
    }
    positions[t] = position;
  }
}

}  // namespace diffllama
