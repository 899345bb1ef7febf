#include "tokenizer/byte_level.h"

#include <array>

#include "base/utf8.h"

namespace diffllama {
namespace {

bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// Printable Latin-1 stands for itself; the other bytes take U+0100, U+0101, ... in order.
struct Alphabet {
  std::array<std::string, 256> character;
  std::array<std::optional<unsigned char>, 0x144> byte;

  Alphabet() {
    char32_t next = 0x100;
    for (unsigned i = 0; i < 256; ++i) {
      const char32_t c = is_printable(i) ? i : next++;
      append_utf8(character[i], c);
      byte[c] = static_cast<unsigned char>(i);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet kAlphabet;
  return kAlphabet;
}

}  // namespace

std::string byte_token(unsigned char byte) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15U], '>'};
}

std::string_view byte_level_character(unsigned char byte) { return alphabet().character[byte]; }

std::optional<unsigned char> byte_of_character(char32_t c) {
  return c < alphabet().byte.size() ? alphabet().byte[c] : std::nullopt;
}

std::optional<std::string> byte_level_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint c = code_point_at(token, at);
    const auto byte = byte_of_character(c.value);
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    at += c.length;
  }
  return bytes;
}

}  // namespace diffllama
