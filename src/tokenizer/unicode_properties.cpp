#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

struct Range {
  std::uint32_t first, last;
};
// The characters of a range have lower cases that follow each other.
struct CaseRange {
  std::uint32_t first, last, lower;
};

#include "tokenizer/unicode_properties_table.inc"

constexpr char32_t kAscii = 0x80;

// The range of a table (in ascending order) that holds c, or null.
template <class R, std::size_t n>
const R* find_range(const std::array<R, n>& ranges, char32_t c) {
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), std::uint32_t{c},
                       [](std::uint32_t value, const R& range) { return value < range.first; });
  if (after == ranges.begin() || c > (after - 1)->last) return nullptr;
  return &*(after - 1);
}

}  // namespace

bool is_numeric(char32_t c) {
  if (c < kAscii) return c >= '0' && c <= '9';
  return find_range(kNumeric, c) != nullptr;
}

bool is_punctuation(char32_t c) {
  if (c < kAscii) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  }
  return find_range(kPunctuation, c) != nullptr;
}

bool is_word(char32_t c) {
  if (c < kAscii) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  }
  return find_range(kWord, c) != nullptr;
}

bool is_mark(char32_t c) { return c >= kAscii && find_range(kMark, c) != nullptr; }

bool is_nonspacing_mark(char32_t c) {
  return c >= kAscii && find_range(kNonspacingMark, c) != nullptr;
}

bool is_other(char32_t c) {
  if (c < kAscii) return c < ' ' || c == 0x7F;
  return find_range(kOther, c) != nullptr;
}

bool is_not_normalized(char32_t c) {
  return c >= kAscii && find_range(kNotNormalized, c) != nullptr;
}

void append_lowercase(std::u32string& text, char32_t c) {
  if (c == 0x130) {  // the one lower-case mapping of two characters
    text += U"i\u0307";
    return;
  }
  const CaseRange* range = find_range(kLowercase, c);
  text.push_back(range == nullptr ? c : range->lower + (c - range->first));
}

}  // namespace diffllama
