#include "tokenizer/unicode.h"

#include <array>

namespace diffllama {
namespace {

struct Range {
  char32_t first, last;
};

bool in_ranges(char32_t c, const Range* begin, const Range* end) {
  for (const Range* range = begin; range != end; ++range) {
    if (c >= range->first && c <= range->last) return true;
  }
  return false;
}

}  // namespace

bool is_whitespace(char32_t c) {
  static constexpr std::array<Range, 9> kRanges = {{{0x09, 0x0D},
                                                    {0x20, 0x20},
                                                    {0x85, 0x85},
                                                    {0xA0, 0xA0},
                                                    {0x1680, 0x1680},
                                                    {0x2000, 0x200A},
                                                    {0x2028, 0x2029},
                                                    {0x202F, 0x202F},
                                                    {0x205F, 0x205F}}};
  return c == 0x3000 || in_ranges(c, kRanges.data(), kRanges.data() + kRanges.size());
}

}  // namespace diffllama
