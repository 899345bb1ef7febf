#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffllama/tasks.h"
#include "diffllama/tokenizer.h"
#include "tasks/characters.h"

namespace diffllama {

struct WindowOptions {
  std::int64_t max_length = 384;  // tokens of a window, question and special tokens included
  std::int64_t stride = 128;      // tokens of the context that neighbouring windows share
};

/// A question with as much of its context as fits.
struct ContextWindow {
  std::vector<std::int64_t> ids;
  std::vector<std::uint8_t> allowed;  // [T] 1: may be part of an answer: the context, and CLS
  std::size_t context_at = 0;         // the window's tokens [context_at, context_at + count)
  std::size_t count = 0;              // are the context's
  std::size_t first = 0;              // from this one on
};

/// A question's windows, as transformers cuts them, and where the tokens of its context lie.
struct EncodedQuestion {
  explicit EncodedQuestion(std::string the_context)
      : context(std::move(the_context)), characters(context) {}
  EncodedQuestion(const EncodedQuestion&) = delete;
  EncodedQuestion& operator=(const EncodedQuestion&) = delete;

  /// Characters of the context from the first word of a window's token `start` to the last of its
  /// token `end`, as far as the window holds their tokens; a special token has the place 0..0.
  std::pair<std::int64_t, std::int64_t> word_places(const ContextWindow& window, std::size_t start,
                                                    std::size_t end) const;

  std::string context;
  Characters characters;
  std::vector<TokenOffset> offsets;    // bytes, of each token of the context
  std::vector<std::int64_t> word_ids;  // and its word
  std::vector<ContextWindow> windows;
};

/// Throws InvalidArgument for an empty question or context, and for a question that leaves the
/// windows of a longer context no room to go on.
std::unique_ptr<EncodedQuestion> encode_question(const Tokenizer& tokenizer,
                                                 const Question& question,
                                                 const WindowOptions& options);

}  // namespace diffllama
