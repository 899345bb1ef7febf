#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace diffllama {

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;  // bytes
};

/// The character that begins at byte `at` of text that is known to be UTF-8.
CodePoint code_point_at(std::string_view text, std::size_t at);
void append_utf8(std::string& text, char32_t code_point);
std::size_t count_code_points(std::string_view text);

/// What stands at the start of bytes that may not be UTF-8.
struct Utf8Step {
  std::size_t length = 0;  // of the character, or of the bytes that one U+FFFD replaces
  bool valid = false;
  bool cut_short = false;  // not valid, but more bytes might have made it so
};

/// Reads one character of `bytes` (not empty). Bytes that are not UTF-8 go in maximal subparts
/// (Unicode 3.9, table 3-8), as Python's errors="replace" and Rust's from_utf8_lossy do.
Utf8Step utf8_step(std::string_view bytes);

/// How many bytes at the start of `bytes` are UTF-8: up to the first that utf8_step refuses.
std::size_t valid_utf8_bytes(std::string_view bytes);

/// U+FFFD in UTF-8.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// `bytes` with everything that is not UTF-8 as U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace diffllama
