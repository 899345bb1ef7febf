#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"
#include "training/data/bad_rows.h"

namespace diffllama {

/// The tokens (or labels) of many examples in one block of memory, four bytes each.
class TokenRows {
 public:
  void append(std::span<const std::int64_t> row);
  std::int64_t size() const { return static_cast<std::int64_t>(starts_.size()) - 1; }
  std::int64_t length(std::int64_t row) const { return end(row) - begin(row); }
  /// Rows `rows` one after the other, int64 [1, N].
  Tensor joined(std::span<const std::int64_t> rows) const;
  /// [1, N], each row's from 0.
  Tensor positions(std::span<const std::int64_t> rows) const;

 private:
  std::int64_t begin(std::int64_t row) const { return starts_[static_cast<std::size_t>(row)]; }
  std::int64_t end(std::int64_t row) const { return starts_[static_cast<std::size_t>(row) + 1]; }
  std::int64_t tokens(std::span<const std::int64_t> rows) const;

  std::vector<std::int32_t> values_;
  std::vector<std::int64_t> starts_ = {0};
};

/// input_ids and position_ids [1, N]: one row of packed sequences, an example each.
ForwardInputs packed_inputs(const TokenRows& rows, std::span<const std::int64_t> examples);

/// Reads items with `next(item)` until it gives false, makes `encode(item)` of each on all threads,
/// some hundreds at a time, and hands the results to `take(result, item)` in order. Items that
/// throw FormatError go to `bad_rows`.
template <class Item, class Next, class Encode, class Take>
void encode_in_order(const Parallel& parallel, BadRows& bad_rows, const Next& next,
                     const Encode& encode, const Take& take) {
  constexpr std::size_t kTogether = 512;
  using Result = decltype(encode(Item{}));
  std::vector<Item> items;
  std::vector<Result> results;
  std::vector<std::string> problems;
  for (bool more = true; more;) {
    items.clear();
    for (Item item;
         items.size() < kTogether && (more = bad_rows.next_good([&] { return next(item); }));
         item = {}) {
      items.push_back(std::move(item));
    }
    results.clear();
    results.resize(items.size());
    problems.assign(items.size(), "");
    parallel.run(static_cast<std::int64_t>(items.size()), [&](std::int64_t task, int) {
      const auto i = static_cast<std::size_t>(task);
      try {
        results[i] = encode(items[i]);
      } catch (const FormatError& error) {
        problems[i] = error.what();
      }
    });
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (problems[i].empty()) {
        take(results[i], items[i]);
      } else {
        bad_rows.skip(problems[i]);
      }
    }
  }
}

/// Throws FormatError that names the first file unless there are examples.
void require_examples(std::int64_t examples, const std::vector<std::filesystem::path>& files);

/// Throws InvalidArgument "[data.sequence_length] ..." unless it leaves a token beside the special
/// ones.
void check_max_length(std::int64_t max_length, std::int64_t special_tokens);

/// `one of "A", "B", ...`, the first few names, for messages.
std::string label_names(std::span<const std::string> names);

}  // namespace diffllama
