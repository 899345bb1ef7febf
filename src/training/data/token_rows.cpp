#include "training/data/token_rows.h"

#include <algorithm>

#include "diffllama/error.h"

namespace diffllama {

void TokenRows::append(std::span<const std::int64_t> row) {
  for (const std::int64_t value : row) values_.push_back(static_cast<std::int32_t>(value));
  starts_.push_back(static_cast<std::int64_t>(values_.size()));
}

std::int64_t TokenRows::longest(std::span<const std::int64_t> rows) const {
  std::int64_t longest = 0;
  for (const std::int64_t row : rows) longest = std::max(longest, length(row));
  return longest;
}

Tensor TokenRows::padded(std::span<const std::int64_t> rows, std::int64_t padding) const {
  const std::int64_t width = longest(rows);
  Tensor batch(DType::int64, {static_cast<std::int64_t>(rows.size()), width});
  std::ranges::fill(batch.i64(), padding);
  for (std::size_t b = 0; b < rows.size(); ++b) {
    std::copy(values_.begin() + begin(rows[b]), values_.begin() + end(rows[b]),
              batch.i64().begin() + static_cast<std::int64_t>(b) * width);
  }
  return batch;
}

Tensor TokenRows::mask(std::span<const std::int64_t> rows) const {
  const std::int64_t width = longest(rows);
  Tensor batch(DType::int64, {static_cast<std::int64_t>(rows.size()), width});
  for (std::size_t b = 0; b < rows.size(); ++b) {
    std::fill_n(batch.i64().begin() + static_cast<std::int64_t>(b) * width, length(rows[b]), 1);
  }
  return batch;
}

ForwardInputs padded_inputs(const TokenRows& rows, std::span<const std::int64_t> examples,
                            std::optional<std::int64_t> pad_token_id) {
  ForwardInputs inputs;
  inputs.input_ids = rows.padded(examples, pad_token_id.value_or(0));
  inputs.attention_mask = rows.mask(examples);
  return inputs;
}

void require_examples(std::int64_t examples, const std::vector<std::filesystem::path>& files) {
  if (examples > 0) return;
  throw FormatError((files.empty() ? "no file" : files[0].string()) +
                    ": expected examples, got none");
}

void check_max_length(std::int64_t max_length, std::int64_t special_tokens) {
  if (max_length > special_tokens) return;
  throw InvalidArgument("[data.sequence_length] expected more than the " +
                        std::to_string(special_tokens) + " special tokens, got " +
                        std::to_string(max_length));
}

std::string label_names(std::span<const std::string> names) {
  constexpr std::size_t kShown = 20;
  std::string text = "one of ";
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i > 0 ? ", \"" : "\"") + names[i] + '"';
  }
  if (names.size() > kShown) text += ", ... (" + std::to_string(names.size()) + " in all)";
  return text;
}

}  // namespace diffllama
