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
/// tokenizer(question, context)), for windows of a context that is too long.
class QuestionPair {
 public:
  QuestionPair(const Tokenizer& tokenizer, std::string_view question, std::string_view context);

  /// Of the context's tokens: bytes, and the words that they are of.
  const std::vector<TokenOffset>& offsets() const { return offsets_; }
  const std::vector<std::int64_t>& word_ids() const { return word_ids_; }
  /// One window, or several whose contexts overlap (truncation="only_second" with a stride). Throws
  /// InvalidArgument "question: ..." where it leaves a longer context no room to go on.
  std::vector<ContextWindow> windows(const WindowOptions& options) const;

 private:
  ContextWindow cut(std::size_t first, std::size_t count) const;

  std::vector<std::int64_t> ids_;
  std::size_t context_begin_, context_end_;  // among them
  std::vector<TokenOffset> offsets_;
  std::vector<std::int64_t> word_ids_;
};

}  // namespace diffllama
