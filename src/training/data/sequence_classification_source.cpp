#include "training/data/sequence_classification_source.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "diffllama/error.h"
#include "training/data/text_encoding.h"
#include "training/measures/class_measurement.h"

namespace diffllama {
namespace {

ProblemType problem_of(const SequenceClassificationOptions& options,
                       const std::vector<std::filesystem::path>& files, BadRows bad_rows) {
  if (options.labels.empty()) throw InvalidArgument("[labels] expected labels, got none");
  if (options.problem_type) return *options.problem_type;
  if (options.labels.size() == 1) return ProblemType::regression;
  LabelledTextReader reader(files, options.columns);
  LabelledText first;
  return bad_rows.next_good([&] { return reader.next(first); }) && first.label.is_array()
             ? ProblemType::multi_label_classification
             : ProblemType::single_label_classification;
}

Encoding encode_at(const Tokenizer& tokenizer, const LabelledText& text) {
  try {
    return text.text_pair ? tokenizer.encode_pair(text.text, *text.text_pair)
                          : tokenizer.encode(text.text);
  } catch (const Error& error) {
    throw FormatError(text.where + ": " + error.what());
  }
}

// How many tokens of each text stay where `room` are left: the longer one loses its end; where
// both must lose it, to halves.
std::array<std::size_t, 2> kept_tokens(std::array<std::size_t, 2> sizes, std::size_t room) {
  if (sizes[0] + sizes[1] <= room) return sizes;
  const std::size_t shorter = sizes[0] <= sizes[1] ? 0 : 1;
  sizes[shorter] = std::min(sizes[shorter], room / 2);
  sizes[1 - shorter] = room - sizes[shorter];
  return sizes;
}

struct Encoded {
  std::vector<std::int64_t> ids;
  LabelValue label;
  bool cut = false;
};

// The tokenizer's ids of a text or of a pair, at most `max_length`.
Encoded encode_text(const Tokenizer& tokenizer, const LabelledText& text, std::int64_t max_length) {
  const Encoding all = encode_at(tokenizer, text);
  std::array<std::size_t, 2> sizes{};
  for (const std::int64_t sequence : all.sequence_ids) {
    if (sequence >= 0) ++sizes[static_cast<std::size_t>(sequence)];
  }
  const std::size_t special = all.ids.size() - sizes[0] - sizes[1];
  const std::size_t room = static_cast<std::size_t>(max_length) -
                           std::min(static_cast<std::size_t>(max_length), special);
  std::array<std::size_t, 2> left = kept_tokens(sizes, room);
  Encoded result;
  result.cut = left != sizes;
  for (std::size_t t = 0; t < all.ids.size(); ++t) {
    if (all.sequence_ids[t] >= 0) {
      std::size_t& of_text = left[static_cast<std::size_t>(all.sequence_ids[t])];
      if (of_text == 0) continue;
      --of_text;
    }
    result.ids.push_back(all.ids[t]);
  }
  if (result.ids.empty()) {
    throw FormatError(text.where + ": expected a text of one token or more, got none");
  }
  return result;
}

}  // namespace

SequenceClassificationSource::SequenceClassificationSource(
    const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
    const SequenceClassificationOptions& options, const Parallel& parallel, BadRows& bad_rows)
    : problem_type_(problem_of(options, files, bad_rows)),
      labels_(options.labels),
      num_labels_(static_cast<std::int64_t>(options.labels.size())) {
  check_max_length(options.max_length, special_tokens_around(tokenizer).count());
  const LabelParser labels(options.labels, problem_type_, options.lists);
  LabelledTextReader reader(files, options.columns);
  encode_in_order<LabelledText>(
      parallel, bad_rows, [&](LabelledText& text) { return reader.next(text); },
      [&](const LabelledText& text) {
        Encoded result = encode_text(tokenizer, text, options.max_length);
        result.label = labels.parse(text);
        return result;
      },
      [&](const Encoded& encoded, const LabelledText&) {
        rows_.append(encoded.ids);
        cut_ += encoded.cut ? 1 : 0;
        classes_.push_back(encoded.label.label_class);
        std::ranges::copy(encoded.label.values, std::back_inserter(values_));
      });
  require_examples(rows_.size(), files);
}

std::unique_ptr<Measurement> SequenceClassificationSource::measurement(PredictionSink sink) const {
  return std::make_unique<ClassMeasurement>(labels_, problem_type_, std::move(sink));
}

ForwardInputs SequenceClassificationSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  ForwardInputs inputs = packed_inputs(rows_, examples);
  const auto batch = static_cast<std::int64_t>(examples.size());
  if (problem_type_ == ProblemType::single_label_classification) {
    inputs.labels.emplace(DType::int64, Shape{batch});
    for (std::size_t b = 0; b < examples.size(); ++b) {
      inputs.labels->i64()[b] = classes_[static_cast<std::size_t>(examples[b])];
    }
    return inputs;
  }
  const bool one = problem_type_ == ProblemType::regression && num_labels_ == 1;
  inputs.labels.emplace(DType::float32, one ? Shape{batch} : Shape{batch, num_labels_});
  auto out = inputs.labels->f32().begin();
  for (const std::int64_t example : examples) {
    out = std::copy_n(values_.begin() + example * num_labels_, num_labels_, out);
  }
  return inputs;
}

}  // namespace diffllama
