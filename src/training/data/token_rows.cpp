#include "training/data/token_rows.h"

#include <algorithm>
#include <numeric>

#include "diffllama/error.h"

namespace diffllama {

void TokenRows::append(std::span<const std::int64_t> row) {
  for (const std::int64_t value : row) values_.push_back(static_cast<std::int32_t>(value));
  starts_.push_back(static_cast<std::int64_t>(values_.size()));
}

std::int64_t TokenRows::tokens(std::span<const std::int64_t> rows) const {
  std::int64_t tokens = 0;
  for (const std::int64_t row : rows) tokens += length(row);
  return tokens;
}

Tensor TokenRows::joined(std::span<const std::int64_t> rows) const {
  Tensor joined(DType::int64, {1, tokens(rows)});
  auto out = joined.i64().begin();
  for (const std::int64_t row : rows) {
    out = std::copy(values_.begin() + begin(row), values_.begin() + end(row), out);
  }
  return joined;
}

Tensor TokenRows::positions(std::span<const std::int64_t> rows) const {
  Tensor positions(DType::int64, {1, tokens(rows)});
  auto out = positions.i64().begin();
  for (const std::int64_t row : rows) {
    std::iota(out, out + length(row), std::int64_t{0});
    out += length(row);
  }
  return positions;
}

ForwardInputs packed_inputs(const TokenRows& rows, std::span<const std::int64_t> examples) {
  ForwardInputs inputs;
  inputs.input_ids = rows.joined(examples);
  inputs.position_ids = rows.positions(examples);
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
