#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace diffllama {

/// True where all of it is UTF-8.
bool is_utf8(std::string_view text);

/// Text that came from outside (a file, an argument, a name), as one line that a terminal may show:
/// what moves a cursor or reorders letters (control characters, U+0080 to U+009F, line separators,
/// marks of direction) becomes \u001b and the like, bytes that are not UTF-8 become U+FFFD, and the
/// middle of a word (what lies between spaces) of more than 400 bytes, and of a text of more than
/// `most`, is left out. Printable text stays as it is.
std::string printable(std::string_view text, std::size_t most = std::size_t{64} << 10);

/// The first `most` bytes, with "..." where there were more. For values in messages.
std::string shortened(std::string_view text, std::size_t most = 60);

/// Which of `known` (at least one) is the fewest letters inserted, deleted or replaced away from
/// `name` (Levenshtein); the first of several. Looks at the first 60 bytes of `name` alone.
std::size_t nearest_of(std::string_view name, std::span<const std::string> known);

}  // namespace diffllama
