#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace diffllama {

/// A regular expression run by Oniguruma itself, for what PCRE2 cannot say. Immutable: any number
/// of threads may search at once.
class OnigurumaRegex {
 public:
  /// Throws FormatError that starts with `where`.
  OnigurumaRegex(std::string_view pattern, const std::string& where);
  ~OnigurumaRegex();
  OnigurumaRegex(const OnigurumaRegex&) = delete;
  OnigurumaRegex& operator=(const OnigurumaRegex&) = delete;
  OnigurumaRegex(OnigurumaRegex&&) = delete;
  OnigurumaRegex& operator=(OnigurumaRegex&&) = delete;

  enum class Outcome { match, no_match, over_limit, failed };
  struct Found {
    Outcome outcome = Outcome::no_match;
    std::size_t begin = 0, end = 0;
  };
  /// The first match in `text` (UTF-8) from `start` on, with at most `limit` steps back.
  Found search(std::string_view text, std::size_t start, std::uint64_t limit) const;

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace diffllama
