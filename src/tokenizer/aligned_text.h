#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace diffllama {

/// Bytes [begin, end) of a text; 32 bits, so texts are limited to 4 GiB.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// UTF-8 text that was made from a source text by normalization, where each byte knows which bytes
/// of the source it stands for: the span of its character there. Until something changes the text
/// no spans are stored.
class AlignedText {
 public:
  AlignedText() = default;
  /// The source itself, or the part of it that begins at byte `origin`.
  explicit AlignedText(std::string text, std::uint32_t origin = 0)
      : text_(std::move(text)), origin_(origin) {}

  const std::string& text() const { return text_; }
  bool empty() const { return text_.empty(); }
  std::size_t size() const { return text_.size(); }
  std::string_view view(std::size_t begin, std::size_t end) const {
    return std::string_view(text_).substr(begin, end - begin);
  }

  /// What the bytes [begin, end), begin < end, stand for: from the start of the first one's span to
  /// the end of the last one's.
  Span source(std::size_t begin, std::size_t end) const;
  /// Where this text begins in the source; inserted text that follows nothing stands here.
  std::uint32_t origin() const { return origin_; }

  AlignedText slice(std::size_t begin, std::size_t end) const;
  /// Appends text that stands for `span`.
  void append(std::string_view text, Span span);
  /// Appends bytes [begin, end) of `other`, which has the same source.
  void append(const AlignedText& other, std::size_t begin, std::size_t end);

 private:
  bool follows_source(const AlignedText& other, std::size_t begin) const;
  void store_spans();

  std::string text_;
  std::uint32_t origin_ = 0;
  bool stored_ = false;      // false: the text is the source from origin_ on
  std::vector<Span> spans_;  // one for each byte
};

/// Builds a changed text character by character, keeping account of what each new character
/// replaces as the tokenizers library does (its NormalizedString::transform).
class AlignedEdit {
 public:
  explicit AlignedEdit(const AlignedText& from) : from_(from), to_(std::string(), from.origin()) {}

  /// change 0: replaces the next character; change > 0: is new, and stands for what the character
  /// before it does; change < 0: replaces the next character and -change more.
  void put(char32_t c, int change);
  /// Keeps the next `bytes` bytes as they are.
  void keep(std::size_t bytes);
  /// Leaves the next character out.
  void drop() { skip_character(); }
  AlignedText finish() { return std::move(to_); }

 private:
  void skip_character();

  const AlignedText& from_;
  AlignedText to_;
  std::size_t at_ = 0;  // byte of from_ that is replaced next
};

}  // namespace diffllama
