#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace diffllama {

/// White_Space.
bool is_whitespace(char32_t c);
// What follows is as the tokenizers library has it, each by the Unicode version of the library's
// part that asks (unicode_properties_table.inc); characters that came later are nothing special.

/// General category N.
bool is_numeric(char32_t c);
/// General category P, or ASCII punctuation ($, +, < and so on).
bool is_punctuation(char32_t c);
/// A character of \w: Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control.
bool is_word(char32_t c);
/// General category M.
bool is_mark(char32_t c);
/// General category Mn.
bool is_nonspacing_mark(char32_t c);
/// General category C but for unassigned characters: controls, formats, private use; and U+FFFD.
bool is_other(char32_t c);
/// Newer than the normalization forms: no form decomposes, composes or reorders it.
bool is_not_normalized(char32_t c);
/// Appends the full lower-case mapping.
void append_lowercase(std::u32string& text, char32_t c);

}  // namespace diffllama
