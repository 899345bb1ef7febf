#include "tasks/characters.h"

#include <algorithm>

#include "base/utf8.h"
#include "tokenizer/unicode.h"

namespace diffllama {

Characters::Characters(std::string_view text) : text_(text) {
  for (std::size_t at = 0; at < text.size(); at += code_point_at(text, at).length) {
    starts_.push_back(at);
  }
  starts_.push_back(text.size());
}

std::int64_t Characters::at_byte(std::size_t byte) const {
  return std::ranges::upper_bound(starts_, byte) - starts_.begin() - 1;
}

std::string_view Characters::slice(std::int64_t begin, std::int64_t end) const {
  end = std::clamp<std::int64_t>(end, 0, size());
  begin = std::clamp<std::int64_t>(begin, 0, end);
  const std::size_t first = starts_[static_cast<std::size_t>(begin)];
  return text_.substr(first, starts_[static_cast<std::size_t>(end)] - first);
}

std::u32string lower_case(std::string_view text) {
  constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2;
  const auto is_letter = [](char32_t c) { return is_word(c) && !is_mark(c) && !is_numeric(c); };
  std::u32string lower;
  bool after_letter = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    at += c.length;
    const bool before_letter = at < text.size() && is_letter(code_point_at(text, at).value);
    if (c.value == kSigma && after_letter && !before_letter) {
      lower += kFinalSigma;
    } else {
      append_lowercase(lower, c.value);
    }
    after_letter = is_letter(c.value) || (after_letter && is_mark(c.value));
  }
  return lower;
}

}  // namespace diffllama
