#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace diffllama {

/// A set of Unicode's code points without the surrogates, which UTF-8 does not have.
class CodePoints {
 public:
  struct Range {
    char32_t first = 0, last = 0;
    bool operator==(const Range&) const = default;
  };
  static constexpr char32_t kLast = 0x10FFFF;

  CodePoints() = default;
  static CodePoints all() { return of(0, kLast); }
  static CodePoints of(char32_t first, char32_t last);

  void add(char32_t first, char32_t last);
  void add(const CodePoints& other);
  CodePoints complement() const;
  CodePoints intersection(const CodePoints& other) const;
  bool contains(char32_t code_point) const;
  bool empty() const { return ranges_.empty(); }
  /// Ascending and apart.
  const std::vector<Range>& ranges() const { return ranges_; }
  bool operator==(const CodePoints&) const = default;

 private:
  void insert(Range range);
  void normalize();
  std::vector<Range> ranges_;
};

/// One way in which bytes follow each other in UTF-8: a range of each byte.
struct ByteSequence {
  struct Range {
    std::uint8_t first = 0, last = 0;
  };
  Range bytes[4];
  int length = 0;
};

/// The UTF-8 of the set, as sequences of which no two have a text in common.
std::vector<ByteSequence> utf8_sequences(const CodePoints& set);

/// Takes one code point from the front of `text`; nothing where that is not UTF-8.
std::optional<char32_t> take_code_point(std::string_view& text);

}  // namespace diffllama
