#include "training/data/context_windows.h"

#include <algorithm>
#include <string>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {

QuestionPair::QuestionPair(const Tokenizer& tokenizer, std::string_view question,
                           std::string_view context) {
  Encoding pair = tokenizer.encode_pair(question, context);
  const auto& sequences = pair.sequence_ids;
  const auto first = std::ranges::find(sequences, 1);
  const auto last = std::find(sequences.rbegin(), sequences.rend(), 1).base();
  context_begin_ = static_cast<std::size_t>(first - sequences.begin());
  context_end_ = first == sequences.end() ? context_begin_
                                          : static_cast<std::size_t>(last - sequences.begin());
  for (std::size_t t = context_begin_; t < context_end_; ++t) {
    offsets_.push_back(pair.offsets[t]);
    word_ids_.push_back(pair.word_ids[t]);
  }
  ids_ = std::move(pair.ids);
}

ContextWindow QuestionPair::cut(std::size_t first, std::size_t count) const {
  ContextWindow window = {.ids = {}, .context_at = context_begin_, .count = count, .first = first};
  const auto place = [&](std::size_t token) {
    return ids_.begin() + static_cast<std::ptrdiff_t>(token);
  };
  window.ids.assign(ids_.begin(), place(context_begin_));
  window.ids.insert(window.ids.end(), place(context_begin_ + first),
                    place(context_begin_ + first + count));
  window.ids.insert(window.ids.end(), place(context_end_), ids_.end());
  return window;
}

std::vector<ContextWindow> QuestionPair::windows(const WindowOptions& options) const {
  const std::size_t tokens = context_end_ - context_begin_;
  const std::size_t others = ids_.size() - tokens;
  const auto most = static_cast<std::size_t>(options.max_length);
  const auto stride = static_cast<std::size_t>(options.stride);
  if (others + tokens <= most) return {cut(0, tokens)};
  if (others + stride >= most) {
    throw InvalidArgument(
        "question: expected fewer than " + std::to_string(most > stride ? most - stride : 0) +
        " tokens, special ones included, since windows have " + std::to_string(most) +
        " and share " + std::to_string(stride) + " of the context, got " + std::to_string(others));
  }
  const std::size_t room = most - others;
  std::vector<ContextWindow> windows;
  for (std::size_t first = 0;; first += room - stride) {
    const std::size_t count = std::min(room, tokens - first);
    windows.push_back(cut(first, count));
    if (first + count == tokens) return windows;
  }
}

}  // namespace diffllama
