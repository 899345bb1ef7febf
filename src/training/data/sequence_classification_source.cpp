#include "training/data/sequence_classification_source.h"

#include <algorithm>
#include <iterator>

#include "diffllama/error.h"
#include "training/data/text_encoding.h"

namespace diffllama {
namespace {

ProblemType problem_of(const SequenceClassificationOptions& options,
                       const std::vector<std::filesystem::path>& files) {
  if (options.labels.empty()) throw InvalidArgument("[labels] expected labels, got none");
  if (options.problem_type) return *options.problem_type;
  if (options.labels.size() == 1) return ProblemType::regression;
  LabelledTextReader reader(files);
  LabelledText first;
  return reader.next(first) && first.label.is_array() ? ProblemType::multi_label_classification
                                                      : ProblemType::single_label_classification;
}

// Cuts the longer of both until they have `room` tokens together; where both must be cut, to
// halves. Says whether it did.
bool truncate_pair(std::vector<std::int64_t>& text, std::vector<std::int64_t>& pair,
                   std::size_t room) {
  if (text.size() + pair.size() <= room) return false;
  const bool text_is_shorter = text.size() <= pair.size();
  std::vector<std::int64_t>& shorter = text_is_shorter ? text : pair;
  std::vector<std::int64_t>& longer = text_is_shorter ? pair : text;
  if (shorter.size() > room / 2) shorter.resize(room / 2);
  longer.resize(room - shorter.size());
  return true;
}

struct Encoded {
  std::vector<std::int64_t> ids;
  LabelValue label;
  bool cut = false;
};

}  // namespace

SequenceClassificationSource::SequenceClassificationSource(
    const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
    const SequenceClassificationOptions& options, const Parallel& parallel)
    : problem_type_(problem_of(options, files)),
      num_labels_(static_cast<std::int64_t>(options.labels.size())),
      pad_token_id_(options.pad_token_id) {
  const SpecialTokens special = special_tokens_around(tokenizer);
  check_max_length(options.max_length, special.count());
  const auto room = static_cast<std::size_t>(options.max_length - special.count());
  const LabelParser labels(options.labels, problem_type_);
  LabelledTextReader reader(files);
  encode_in_order<LabelledText>(
      parallel, [&](LabelledText& text) { return reader.next(text); },
      [&](const LabelledText& text) {
        Encoded result;
        result.label = labels.parse(text.label, text.where);
        std::vector<std::int64_t> ids = encode_at(tokenizer, text.text, text.where, false).ids;
        std::vector<std::int64_t> pair;
        if (text.text_pair) pair = encode_at(tokenizer, *text.text_pair, text.where, false).ids;
        result.cut = truncate_pair(ids, pair, room);
        const auto append = [&](const std::vector<std::int64_t>& part) {
          std::ranges::copy(part, std::back_inserter(result.ids));
        };
        append(special.before);
        append(ids);
        append(pair);
        append(special.after);
        if (result.ids.empty()) {
          throw FormatError(text.where + ": expected a text of one token or more, got none");
        }
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

ForwardInputs SequenceClassificationSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  ForwardInputs inputs = padded_inputs(rows_, examples, pad_token_id_);
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
