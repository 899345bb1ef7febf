#pragma once

#include <string>
#include <string_view>

namespace diffllama {

/// Rewrites a pattern of tokenizer.json, which is in Oniguruma's syntax and meaning (the library
/// behind tokenizers), for PCRE2 with UTF, UCP and MULTILINE. What differs is \s, \w, \d, \h, \v,
/// \b, the flag m, `(?i)` before an alternation, and quantifiers of quantifiers such as `{1,3}+`.
/// Throws FormatError that starts with `where` for what PCRE2 cannot express: sets in sets,
/// intersections, calls, absence operators.
std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where);

}  // namespace diffllama
