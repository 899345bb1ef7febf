#pragma once

#include <cstdint>

namespace diffllama {

/// Of a letter, in pixels.
inline constexpr std::int64_t kGlyphWidth = 6;
inline constexpr std::int64_t kGlyphHeight = 10;

/// A letter's pixels: bit 6 y + x is the one at column x of row y. Those of U+25A1, a box, for a
/// character that the font lacks: it has Latin, Greek and Cyrillic.
std::uint64_t glyph(char32_t character);

}  // namespace diffllama
