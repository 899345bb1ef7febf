#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "microscope/glyphs.h"
#include "microscope/report.h"

namespace diffllama {
namespace {

using Colour = std::array<std::uint8_t, 3>;
constexpr Colour kPlus = {9, 84, 190};    // as in page.html
constexpr Colour kMinus = {196, 58, 12};  // A2, and weights below zero

// Rows of pixels [height][3 width], white at first.
struct Image {
  std::int64_t width, height;
  std::vector<std::uint8_t> pixels;

  Image(std::int64_t w, std::int64_t h)
      : width(w), height(h), pixels(static_cast<std::size_t>(3 * w * h), std::uint8_t{255}) {}
};

// Blackens the pixels of `text` from (x, y) on, a top left corner; upwards: turned, so that (x, y)
// is where it begins at the bottom. What leaves the image on the right or below is cut.
void write(Image& image, std::int64_t x, std::int64_t y, const std::u32string& text,
           bool upwards = false) {
  for (const char32_t character : text) {
    const std::uint64_t pixels = glyph(character);
    for (std::int64_t i = 0; i < kGlyphWidth * kGlyphHeight; ++i) {
      if ((pixels >> i & 1) == 0) continue;
      const std::int64_t along = i % kGlyphWidth;
      const std::int64_t down = i / kGlyphWidth;
      const std::int64_t column = upwards ? x + down : x + along;
      const std::int64_t row = upwards ? y - along : y + down;
      if (column >= image.width || row >= image.height) continue;
      const auto at = static_cast<std::size_t>(3 * (row * image.width + column));
      std::fill_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(at), 3, std::uint8_t{60});
    }
    (upwards ? y : x) += upwards ? -kGlyphWidth : kGlyphWidth;
  }
}

// A token as it stands on an axis: blanks and controls can be seen, a long one is cut.
std::u32string label_of(const std::string& token) {
  constexpr std::size_t kMost = 14;
  std::u32string label;
  const std::string text = replace_invalid_utf8(token);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint character = code_point_at(text, at);
    at += character.length;
    label += character.value == U' '    ? U'\u00B7'
             : character.value == U'\n' ? U'\u00B6'
             : character.value == U'\t' ? U'\u2192'
             : character.value < U' '   ? U'\uFFFD'
                                        : character.value;
    if (label.size() > kMost) {
      label.resize(kMost - 1);
      return label + U'\u2026';
    }
  }
  return label.empty() ? std::u32string(U"\u2205") : label;
}

// A square of `side` pixels from (x, y) on, as opaque as the square root of the weight.
void paint(Image& image, std::int64_t x, std::int64_t y, std::int64_t side, float weight,
           const Colour& colour) {
  const float opacity = std::sqrt(std::min(std::fabs(weight), 1.0F));
  for (std::int64_t row = y; row < y + side; ++row) {
    for (std::int64_t column = x; column < x + side; ++column) {
      for (std::size_t c = 0; c < 3; ++c) {
        const float value = 255.0F + opacity * (static_cast<float>(colour.at(c)) - 255.0F);
        image.pixels[static_cast<std::size_t>(3 * (row * image.width + column)) + c] =
            static_cast<std::uint8_t>(std::lround(value));
      }
    }
  }
}

// libpng leaves by longjmp when it fails: nothing in here has a destructor.
bool write_png(png_structp png, png_infop info, const Image& image, png_text* text,
               std::string* out) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;  // NOLINT(cert-err52-cpp)
  png_set_write_fn(
      png, out,
      [](png_structp writer, png_bytep bytes, std::size_t size) {
        static_cast<std::string*>(png_get_io_ptr(writer))
            ->append(reinterpret_cast<const char*>(bytes), size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_text(png, info, text, 1);
  png_write_info(png, info);
  for (std::int64_t row = 0; row < image.height; ++row) {
    png_write_row(png, image.pixels.data() + 3 * row * image.width);
  }
  png_write_end(png, info);
  return true;
}

std::string encode(const Image& image, std::string description) {
  std::string key = "Description";
  png_text text = {};
  text.compression = PNG_TEXT_COMPRESSION_NONE;
  text.key = key.data();
  text.text = description.data();
  text.text_length = description.size();
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  std::string bytes;
  const bool written = info != nullptr && write_png(png, info, image, &text, &bytes);
  png_destroy_write_struct(&png, &info);
  if (!written) throw Error("expected libpng to write an image, got an error");
  return bytes;
}

// Where things lie in an image of `count` maps beside each other: behind the labels of the rows,
// below a title and the labels of the columns.
struct Layout {
  static constexpr std::int64_t kGap = 8;
  std::int64_t tokens, side, count;
  std::int64_t axis = 0;  // the longest label, in pixels

  std::int64_t left(std::int64_t map) const {
    return kGap + axis + kGap / 2 + map * (tokens * side + kGap);
  }
  std::int64_t top() const { return kGap + kGlyphHeight + kGap / 2 + axis + kGap / 2; }
  // The last title may be wider than its map.
  std::int64_t width() const { return std::max(left(count), left(count - 1) + 16 * kGlyphWidth); }
  std::int64_t height() const { return top() + tokens * side + kGap; }
};

void write_axes(Image& image, const Layout& layout, const std::vector<std::u32string>& labels) {
  constexpr std::array<const char32_t*, 3> kTitles = {U"A1", U"A2", U"A1 - lambda A2"};
  // No closer than letters are high.
  const std::int64_t every = (kGlyphHeight + layout.side - 1) / layout.side;
  const std::int64_t middle = (layout.side - kGlyphHeight) / 2;
  for (std::int64_t token = 0; token < std::ssize(labels); token += every) {
    const std::u32string& label = labels[static_cast<std::size_t>(token)];
    const std::int64_t place = token * layout.side + std::max<std::int64_t>(middle, 0);
    write(image, layout.left(0) - Layout::kGap / 2 - kGlyphWidth * std::ssize(label),
          layout.top() + place, label);
    for (std::int64_t map = 0; map < layout.count; ++map) {
      write(image, layout.left(map) + place, layout.top() - Layout::kGap / 2 - 1, label, true);
    }
  }
  for (std::int64_t map = 0; map < layout.count; ++map) {
    write(image, layout.left(map), Layout::kGap, kTitles.at(static_cast<std::size_t>(map)));
  }
}

}  // namespace

std::string to_png(const AttentionReport& report, std::int64_t layer, std::int64_t head) {
  const AttentionHead& of = kept_head(report, layer, head);
  std::vector<const Tensor*> maps = {&of.first};
  if (!of.second.empty()) maps = {&of.first, &of.second, &of.difference};
  const auto tokens = static_cast<std::int64_t>(report.ids.size());
  std::vector<std::u32string> labels;
  Layout layout = {.tokens = tokens,
                   .side = std::clamp<std::int64_t>(512 / tokens, 1, 24),
                   .count = std::ssize(maps)};
  for (const std::string& token : report.tokens) {
    labels.push_back(label_of(token));
    layout.axis = std::max(layout.axis, kGlyphWidth * std::ssize(labels.back()));
  }
  Image image(layout.width(), layout.height());
  for (std::int64_t map = 0; map < layout.count; ++map) {
    const auto weights = maps[static_cast<std::size_t>(map)]->f32();
    for (std::int64_t i = 0; i < tokens * tokens; ++i) {
      const float weight = weights[static_cast<std::size_t>(i)];
      paint(image, layout.left(map) + i % tokens * layout.side,
            layout.top() + i / tokens * layout.side, layout.side, weight,
            map == 1 || weight < 0 ? kMinus : kPlus);
    }
  }
  write_axes(image, layout, labels);
  return encode(image, "Attention of " + report.architecture + ", layer " + std::to_string(layer) +
                           ", head " + std::to_string(head) +
                           (layout.count == 1 ? ": A1" : ": A1, A2, A1 - lambda A2") +
                           "; rows read, columns are read");
}

}  // namespace diffllama
