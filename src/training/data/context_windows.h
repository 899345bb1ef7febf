#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "diffllama/tokenizer.h"

namespace diffllama {

/// A question with as much of its context as fits: the context's tokens from `first` on are those
/// of the window from `context_at` on.
struct ContextWindow {
  std::vector<std::int64_t> ids;
  std::size_t context_at = 0, count = 0, first = 0;

  bool in_context(std::size_t token) const {
    return token >= context_at && token < context_at + count;
  }
};

struct WindowOptions {
  std::int64_t max_length = 384;  // tokens of a window, question and special tokens included
  std::int64_t stride = 128;      // tokens of the context that neighbouring windows share
};

/// A question and its context as the tokenizer makes a pair of them (transformers'
/// tokenizer(question, context)), for windows of a context that is too long. The context comes
/// first where the tokenizer pads on the left, as in transformers' pipeline and run_qa.py.
class QuestionPair {
 public:
  QuestionPair(const Tokenizer& tokenizer, std::string_view question, std::string_view context);

  bool context_first() const { return context_first_; }
  /// Of the context's tokens: bytes of the context.
  std::vector<TokenOffset> context_offsets() const;
  /// One window, or several whose contexts overlap (truncation="only_second", or "only_first",
  /// with a stride). Throws InvalidArgument "question: ..." where it leaves a longer context no
  /// room to go on.
  std::vector<ContextWindow> windows(const WindowOptions& options) const;

  /// Of a window's token, in the text that it is of: bytes, 0..0 for special tokens, and the word,
  /// -1 for these.
  TokenOffset offset(const ContextWindow& window, std::size_t token) const {
    return offsets_[of_pair(window, token)];
  }
  std::int64_t word(const ContextWindow& window, std::size_t token) const {
    return word_ids_[of_pair(window, token)];
  }

 private:
  ContextWindow cut(std::size_t first, std::size_t count) const;
  std::size_t of_pair(const ContextWindow& window, std::size_t token) const;

  bool context_first_;
  std::vector<std::int64_t> ids_;
  std::size_t context_begin_, context_end_;  // among them
  std::vector<TokenOffset> offsets_;
  std::vector<std::int64_t> word_ids_;
};

}  // namespace diffllama
