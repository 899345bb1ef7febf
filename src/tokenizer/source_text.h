#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/aligned_text.h"

namespace diffllama {

/// The text that is encoded: UTF-8, with U+FFFD for what is not, which knows where its characters
/// lie in the bytes it was made from and which of them may be read as control tokens.
class SourceText {
 public:
  /// Appends a part; what is not UTF-8 in it does not join with its neighbours. Throws
  /// InvalidArgument when all parts together have 1.3 GiB or more.
  void append(std::string_view bytes, bool trusted = true);

  const std::string& text() const { return text_; }
  /// The place in the original bytes of a character boundary of the text.
  std::size_t original(std::size_t at) const;
  /// Whether all of `span`, bytes of the text, is from trusted parts.
  bool is_trusted(Span span) const;
  bool all_trusted() const { return untrusted_.empty(); }

 private:
  struct Shift {
    std::size_t text, bytes;  // the same place in both
  };
  std::string text_;
  std::size_t bytes_ = 0;        // originally
  std::vector<Shift> shifts_;    // in order; between two of them both advance alike
  std::vector<Span> untrusted_;  // in order
};

}  // namespace diffllama
