#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "diffllama/error.h"
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

}  // namespace

std::string to_png(const AttentionReport& report, std::int64_t layer, std::int64_t head) {
  constexpr std::int64_t kGap = 8;
  const AttentionHead& of = kept_head(report, layer, head);
  std::vector<const Tensor*> maps = {&of.first};
  if (!of.second.empty()) maps = {&of.first, &of.second, &of.difference};
  const auto tokens = static_cast<std::int64_t>(report.ids.size());
  const std::int64_t side = std::clamp<std::int64_t>(512 / tokens, 1, 24);
  const auto count = static_cast<std::int64_t>(maps.size());
  Image image(count * tokens * side + (count + 1) * kGap, tokens * side + 2 * kGap);
  for (std::int64_t map = 0; map < count; ++map) {
    const auto weights = maps[static_cast<std::size_t>(map)]->f32();
    const std::int64_t left = kGap + map * (tokens * side + kGap);
    for (std::int64_t i = 0; i < tokens * tokens; ++i) {
      const float weight = weights[static_cast<std::size_t>(i)];
      paint(image, left + i % tokens * side, kGap + i / tokens * side, side, weight,
            map == 1 || weight < 0 ? kMinus : kPlus);
    }
  }
  return encode(image, "Attention of " + report.architecture + ", layer " + std::to_string(layer) +
                           ", head " + std::to_string(head) +
                           (count == 1 ? ": A1" : ": A1, A2, A1 - lambda A2") +
                           "; rows read, columns are read");
}

}  // namespace diffllama
