#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/tokenizer.h"

namespace diffllama {

/// The text of one sequence while its tokens come, and the stop strings in it.
///
/// A stop string counts as soon as a token completes it, as transformers' StopStringCriteria has
/// it: it may begin in the prompt, span any number of tokens, end inside the last one, and hold
/// special tokens as they are written. The text then ends before the stop string. Until it is known
/// that no stop string begins there, the end of the text is held back; so are the bytes of a
/// character that is not whole.
class GeneratedText {
 public:
  /// `tokenizer` must outlive it. Stop strings are not empty.
  GeneratedText(const Tokenizer& tokenizer, std::span<const std::string> stop_strings,
                std::span<const std::int64_t> prompt);

  /// Adds a token; gives the text that became certain, valid until the next call.
  std::string_view push(std::int64_t id);
  /// A stop string is complete: no more tokens should come.
  bool stopped() const { return stopped_; }
  /// Ends the sequence: gives what was held back, incomplete characters as U+FFFD.
  std::string_view finish();
  /// All the text so far, without special tokens and without what follows from a stop string on.
  const std::string& text() const { return text_; }

 private:
  // Where the pieces of one token begin in matched_ and in text_.
  struct Piece {
    std::size_t matched, text;
  };
  std::size_t text_position(std::size_t matched_position) const;
  void find_stop_string(std::size_t matched_before);
  std::size_t held_back() const;
  std::string_view release(std::size_t end);

  const Tokenizer* tokenizer_;
  std::vector<std::string> stop_strings_;
  Tokenizer::Stream text_stream_;
  std::string text_;
  std::size_t released_ = 0;
  bool stopped_ = false;
  // Only where there are stop strings: the text that they are looked for in, special tokens and the
  // prompt's end included.
  Tokenizer::Stream matched_stream_;
  std::string matched_;
  std::vector<Piece> pieces_;
};

}  // namespace diffllama
