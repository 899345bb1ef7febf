#include "training/data/token_classification_source.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "diffllama/error.h"
#include "model/heads/losses.h"
#include "training/data/text_encoding.h"
#include "training/measures/tag_measurement.h"

namespace diffllama {
namespace {

struct Encoded {
  std::vector<std::int64_t> ids, labels;
  bool cut = false;
};

class SentenceEncoder {
 public:
  SentenceEncoder(const Tokenizer& tokenizer, const TokenClassificationOptions& options)
      : options_(options), special_(special_tokens_around(tokenizer)), words_(tokenizer) {
    if (options.labels.empty()) throw InvalidArgument("[labels] expected labels, got none");
    check_max_length(options.max_length, special_.count());
    for (std::size_t i = 0; i < options.labels.size(); ++i) {
      labels_.emplace(options.labels[i], static_cast<std::int64_t>(i));
    }
  }

  Encoded encode(const std::vector<TaggedWord>& sentence) const {
    Encoded result;
    for (const TaggedWord& word : sentence) {
      const std::int64_t label = label_of(word);
      const auto ids = words_.encode(word.form, word.space_before);
      std::ranges::copy(ids, std::back_inserter(result.ids));
      for (std::size_t i = 0; i < ids.size(); ++i) {
        result.labels.push_back(i == 0 ? label : kIgnoreLabel);
      }
    }
    const auto kept = std::min(result.ids.size(),
                               static_cast<std::size_t>(options_.max_length - special_.count()));
    result.cut = kept < result.ids.size();
    result.ids.resize(kept);
    result.labels.resize(kept);
    result.ids.insert(result.ids.begin(), special_.before.begin(), special_.before.end());
    result.labels.insert(result.labels.begin(), special_.before.size(), kIgnoreLabel);
    std::ranges::copy(special_.after, std::back_inserter(result.ids));
    result.labels.resize(result.ids.size(), kIgnoreLabel);
    if (result.ids.empty()) {
      throw FormatError(sentence[0].where + ": expected words with tokens, got none");
    }
    return result;
  }

 private:
  std::int64_t label_of(const TaggedWord& word) const {
    if (word.tag.empty()) return kIgnoreLabel;
    const auto found = labels_.find(word.tag);
    if (found != labels_.end()) return found->second;
    const std::optional<std::int64_t> number = word.tag_number;
    if (number && *number < std::ssize(options_.labels)) return *number;
    throw FormatError(word.where + ": " + options_.format.tag_name() + ": expected " +
                      label_names(options_.labels) + ", got \"" + word.tag + "\"");
  }

  const TokenClassificationOptions& options_;
  SpecialTokens special_;
  WordEncoder words_;
  std::map<std::string, std::int64_t> labels_;
};

}  // namespace

TokenClassificationSource::TokenClassificationSource(
    const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
    const TokenClassificationOptions& options, const Parallel& parallel, BadRows& bad_rows)
    : names_(options.labels) {
  const SentenceEncoder encoder(tokenizer, options);
  for (const std::filesystem::path& file : files) {
    const auto reader = SentenceReader::open(file, options.format);
    encode_in_order<std::vector<TaggedWord>>(
        parallel, bad_rows, [&](std::vector<TaggedWord>& words) { return reader->next(words); },
        [&](const std::vector<TaggedWord>& words) { return encoder.encode(words); },
        [&](const Encoded& encoded, const std::vector<TaggedWord>&) {
          rows_.append(encoded.ids);
          labels_.append(encoded.labels);
          cut_ += encoded.cut ? 1 : 0;
        });
  }
  require_examples(rows_.size(), files);
}

std::unique_ptr<Measurement> TokenClassificationSource::measurement(PredictionSink sink) const {
  return std::make_unique<TagMeasurement>(names_, std::move(sink));
}

ForwardInputs TokenClassificationSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  ForwardInputs inputs = packed_inputs(rows_, examples);
  inputs.labels = labels_.joined(examples);
  return inputs;
}

}  // namespace diffllama
