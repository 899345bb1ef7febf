#include "tasks/context_windows.h"

#include <algorithm>

#include "diffllama/error.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

// What the tokenizer makes of a pair, in three parts: what stands before the context (the question
// and special tokens), the context, and what stands behind it.
struct PairParts {
  std::size_t context_begin, context_end;
};

PairParts parts_of(const Encoding& pair) {
  const auto& sequences = pair.sequence_ids;
  const auto first = std::ranges::find(sequences, 1);
  if (first == sequences.end()) return {pair.ids.size(), pair.ids.size()};
  const auto last = std::find(sequences.rbegin(), sequences.rend(), 1).base();
  return {static_cast<std::size_t>(first - sequences.begin()),
          static_cast<std::size_t>(last - sequences.begin())};
}

class WindowCutter {
 public:
  WindowCutter(const Tokenizer& tokenizer, const Encoding& pair)
      : pair_(pair), parts_(parts_of(pair)), cls_(tokenizer.cls_token_id()) {}

  std::size_t context_tokens() const { return parts_.context_end - parts_.context_begin; }
  std::size_t other_tokens() const { return pair_.ids.size() - context_tokens(); }

  ContextWindow cut(std::size_t first, std::size_t count) const {
    ContextWindow window;
    window.context_at = parts_.context_begin;
    window.count = count;
    window.first = first;
    const auto begin = pair_.ids.begin();
    const auto context = begin + static_cast<std::ptrdiff_t>(parts_.context_begin + first);
    window.ids.assign(begin, begin + static_cast<std::ptrdiff_t>(parts_.context_begin));
    window.ids.insert(window.ids.end(), context, context + static_cast<std::ptrdiff_t>(count));
    window.ids.insert(window.ids.end(), begin + static_cast<std::ptrdiff_t>(parts_.context_end),
                      pair_.ids.end());
    window.allowed.resize(window.ids.size());
    for (std::size_t t = 0; t < window.ids.size(); ++t) {
      const bool of_context = t >= window.context_at && t < window.context_at + count;
      window.allowed[t] = of_context || window.ids[t] == cls_ ? 1 : 0;
    }
    return window;
  }

 private:
  const Encoding& pair_;
  PairParts parts_;
  std::optional<std::int64_t> cls_;
};

}  // namespace

std::pair<std::int64_t, std::int64_t> EncodedQuestion::word_places(const ContextWindow& window,
                                                                   std::size_t start,
                                                                   std::size_t end) const {
  const auto in_context = [&](std::size_t token) {
    return token >= window.context_at && token < window.context_at + window.count;
  };
  if (!in_context(start) || !in_context(end)) return {0, 0};
  std::size_t first = window.first + start - window.context_at;
  std::size_t last = window.first + end - window.context_at;
  while (first > window.first && word_ids[first - 1] == word_ids[first]) --first;
  while (last + 1 < window.first + window.count && word_ids[last + 1] == word_ids[last]) ++last;
  return {characters.at_byte(offsets[first].begin), characters.at_byte(offsets[last].end)};
}

std::unique_ptr<EncodedQuestion> encode_question(const Tokenizer& tokenizer,
                                                 const Question& question,
                                                 const WindowOptions& options) {
  if (question.question.empty()) throw InvalidArgument("question: expected a text, got none");
  if (question.context.empty()) throw InvalidArgument("context: expected a text, got none");
  auto result = std::make_unique<EncodedQuestion>(replace_invalid_utf8(question.context));
  const Encoding pair = tokenizer.encode_pair(question.question, result->context);
  const WindowCutter cutter(tokenizer, pair);
  const std::size_t tokens = cutter.context_tokens();
  const auto most = static_cast<std::size_t>(options.max_length);
  const auto stride = static_cast<std::size_t>(options.stride);
  const std::size_t others = cutter.other_tokens();
  if (others + tokens > most && others + stride >= most) {
    throw InvalidArgument(
        "question: expected fewer than " + std::to_string(most > stride ? most - stride : 0) +
        " tokens, since max_seq_length is " + std::to_string(most) + " and doc_stride " +
        std::to_string(stride) + ", got " + std::to_string(others));
  }
  for (std::size_t t = 0; t < pair.ids.size(); ++t) {
    if (pair.sequence_ids[t] != 1) continue;
    result->offsets.push_back(pair.offsets[t]);
    result->word_ids.push_back(pair.word_ids[t]);
  }
  if (others + tokens <= most) {
    result->windows.push_back(cutter.cut(0, tokens));
    return result;
  }
  const std::size_t room = most - others;
  for (std::size_t first = 0;; first += room - stride) {
    const std::size_t count = std::min(room, tokens - first);
    result->windows.push_back(cutter.cut(first, count));
    if (first + count == tokens) return result;
  }
}

}  // namespace diffllama
