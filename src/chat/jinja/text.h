#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace diffllama::jinja {

/// A string of UTF-8 that remembers of every byte whether it came out of the conversation
/// ("content") or from the template itself. Whatever is cut from it or put together with it keeps
/// that, so that what a template makes of a message can still be told from its own text.
class Text {
 public:
  struct Run {
    std::size_t end;  // one past its last byte; it begins where the one before ends
    bool content;
  };

  Text() = default;
  explicit Text(std::string bytes, bool content = false);

  const std::string& bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  /// Neighbours differ in `content`; none for the empty text.
  const std::vector<Run>& runs() const { return runs_; }
  bool content_at(std::size_t byte) const;

  void append(const Text& other) { append(other, 0, other.size()); }
  /// Bytes [begin, end) of `other`.
  void append(const Text& other, std::size_t begin, std::size_t end);
  void append(std::string_view bytes, bool content);
  /// Bytes [begin, end).
  Text slice(std::size_t begin, std::size_t end) const;

  /// Whether it counts as HTML that needs no escaping (|safe): what is added to it with + then is
  /// escaped. Does not outlive any other operation.
  bool markup() const { return markup_; }
  void set_markup() { markup_ = true; }

 private:
  std::string bytes_;
  std::vector<Run> runs_;
  bool markup_ = false;
};

/// Bytes of the character that starts at `at`, or of those that are no part of one.
std::size_t character_size(std::string_view text, std::size_t at);
/// Characters (code points) of UTF-8.
std::size_t count_characters(std::string_view text);
/// Where the character of this number begins, or the end.
std::size_t byte_of_character(std::string_view text, std::size_t character);
/// The code point that starts at `at`, U+FFFD where none does.
char32_t character_at(std::string_view text, std::size_t at);

}  // namespace diffllama::jinja
