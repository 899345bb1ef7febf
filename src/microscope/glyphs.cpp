#include "microscope/glyphs.h"

#include <algorithm>
#include <iterator>

namespace diffllama {
namespace {

struct Glyph {
  char32_t character;
  std::uint64_t pixels;
};

constexpr Glyph kGlyphs[] = {
#include "microscope/glyphs_table.inc"
};

}  // namespace

std::uint64_t glyph(char32_t character) {
  if (character == U' ') return 0;
  const auto* const found = std::ranges::lower_bound(kGlyphs, character, {}, &Glyph::character);
  if (found != std::end(kGlyphs) && found->character == character) return found->pixels;
  return glyph(U'\u25A1');
}

}  // namespace diffllama
