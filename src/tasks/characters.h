#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace diffllama {

/// The characters of a text, for places that count them where a tokenizer counts bytes.
class Characters {
 public:
  /// `text` is UTF-8 and must outlive it.
  explicit Characters(std::string_view text);

  std::int64_t size() const { return static_cast<std::int64_t>(starts_.size()) - 1; }
  /// The number of the character that byte `byte` lies in; of the text's end, size().
  std::int64_t at_byte(std::size_t byte) const;
  /// Characters [begin, end), as far as the text goes.
  std::string_view slice(std::int64_t begin, std::int64_t end) const;

 private:
  std::string_view text_;
  std::vector<std::size_t> starts_;  // bytes; the last is the text's end
};

/// Python's str.lower().
std::u32string lower_case(std::string_view text);

}  // namespace diffllama
