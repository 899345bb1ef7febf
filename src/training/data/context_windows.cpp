#include "training/data/context_windows.h"

#include <algorithm>
#include <string>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {

QuestionPair::QuestionPair(const Tokenizer& tokenizer, std::string_view question,
                           std::string_view context)
    : context_first_(tokenizer.pads_left()) {
  Encoding pair = context_first_ ? tokenizer.encode_pair(context, question)
                                 : tokenizer.encode_pair(question, context);
  const auto& sequences = pair.sequence_ids;
  const std::int64_t of_context = context_first_ ? 0 : 1;
  const auto first = std::ranges::find(sequences, of_context);
  const auto last = std::find(sequences.rbegin(), sequences.rend(), of_context).base();
  context_begin_ = static_cast<std::size_t>(first - sequences.begin());
  context_end_ = first == sequences.end() ? context_begin_
                                          : static_cast<std::size_t>(last - sequences.begin());
  ids_ = std::move(pair.ids);
  offsets_ = std::move(pair.offsets);
  word_ids_ = std::move(pair.word_ids);
}

std::vector<TokenOffset> QuestionPair::context_offsets() const {
  return {offsets_.begin() + static_cast<std::ptrdiff_t>(context_begin_),
          offsets_.begin() + static_cast<std::ptrdiff_t>(context_end_)};
}

std::size_t QuestionPair::of_pair(const ContextWindow& window, std::size_t token) const {
  if (token < window.context_at) return token;
  if (window.in_context(token)) return context_begin_ + window.first + token - window.context_at;
  return context_end_ + token - window.context_at - window.count;
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
