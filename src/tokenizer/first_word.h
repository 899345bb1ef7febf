#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace diffllama {

/// What SentencePiece writes in place of a blank.
inline constexpr std::string_view kBlankMark = "\u2581";

/// The bytes of a text before the first blank mark that follows another character; all, where there
/// is none.
inline std::size_t first_word(std::string_view text) {
  std::size_t at = 0;
  while (text.substr(at).starts_with(kBlankMark)) at += kBlankMark.size();
  return std::min(text.find(kBlankMark, at), text.size());
}

}  // namespace diffllama
