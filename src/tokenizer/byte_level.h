#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace diffllama {

/// GPT-2's alphabet: each of the 256 bytes as a printable character of one or two UTF-8 bytes, the
/// space as Ġ.
std::string_view byte_level_character(unsigned char byte);
/// The byte that a character of the alphabet stands for.
std::optional<unsigned char> byte_of_character(char32_t c);
/// The bytes that `token` spells, or nothing when one of its characters is not of the alphabet.
std::optional<std::string> byte_level_bytes(std::string_view token);

/// The token that stands for a byte where there is no other: <0x0A>.
std::string byte_token(unsigned char byte);

/// GPT-2's splitting pattern, in Oniguruma's syntax.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace diffllama
