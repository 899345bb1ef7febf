#pragma once

namespace diffllama {

/// No script: unassigned when the table was made, or the blank.
inline constexpr int kNoScript = 0;

/// A number for the script of a character, as the UnicodeScripts pre-tokenizer tells scripts apart:
/// Hiragana and Katakana count as Han, and the characters that the table's Unicode (of
/// SentencePiece) does not know have kNoScript.
int unicode_script(char32_t c);

}  // namespace diffllama
