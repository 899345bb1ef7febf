#include "training/data/masked_text_source.h"

#include <algorithm>
#include <utility>

#include "diffllama/error.h"
#include "model/heads/losses.h"

namespace diffllama {

MaskedTextSource::MaskedTextSource(const std::vector<std::filesystem::path>& files,
                                   const Tokenizer& tokenizer, const MaskedTextOptions& options,
                                   const Parallel& parallel, BadRows& bad_rows)
    : token_bytes_(options.token_bytes) {
  const auto max_length = static_cast<std::size_t>(options.max_length);
  const auto encode = [&](const DataRow& row) {
    MaskedText text;
    try {
      if (options.chat_template) {
        nlohmann::json conversation = row.fields;
        conversation["messages"] = required_field(row, options.messages_column);
        text = encode_conversation(tokenizer, *options.chat_template, conversation, row.where);
      } else {
        text = encode_completion(tokenizer, string_field(row, options.prompt_column),
                                 string_field(row, options.completion_column), row.where);
      }
    } catch (const InvalidArgument& error) {
      throw FormatError(row.where + ": " + error.what());
    }
    const auto end =
        text.labels.begin() + static_cast<std::ptrdiff_t>(std::min(text.labels.size(), max_length));
    if (std::all_of(text.labels.begin(), end,
                    [](std::int64_t label) { return label == kIgnoreLabel; })) {
      throw FormatError(row.where + ": expected something to learn in the first " +
                        std::to_string(max_length) + " tokens (data.sequence_length), got none");
    }
    return text;
  };
  for (const std::filesystem::path& file : files) {
    const auto rows = RowReader::open(file);
    encode_in_order<DataRow>(
        parallel, bad_rows, [&](DataRow& row) { return rows->next(row); }, encode,
        [&](const MaskedText& text, const DataRow&) {
          const std::size_t kept = std::min(text.ids.size(), max_length);
          rows_.append(std::span(text.ids).first(kept));
          labels_.append(std::span(text.labels).first(kept));
          cut_ += kept < text.ids.size() ? 1 : 0;
        });
  }
  require_examples(rows_.size(), files);
}

ForwardInputs MaskedTextSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  ForwardInputs inputs = packed_inputs(rows_, examples);
  inputs.labels = labels_.joined(examples);
  std::int64_t first = 0;
  for (const std::int64_t example : examples) {  // which the example before it must not predict
    inputs.labels->i64()[static_cast<std::size_t>(first)] = kIgnoreLabel;
    first += rows_.length(example);
  }
  return inputs;
}

std::unique_ptr<Measurement> MaskedTextSource::measurement(PredictionSink sink) const {
  return std::make_unique<LanguageMeasurement>(token_bytes_, std::move(sink));
}

}  // namespace diffllama
