#include "tokenizer/aligned_text.h"

#include <algorithm>

#include "base/utf8.h"

namespace diffllama {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

}  // namespace

Span AlignedText::source(std::size_t begin, std::size_t end) const {
  if (stored_) return {spans_[begin].begin, spans_[end - 1].end};
  while (begin > 0 && is_continuation(text_[begin])) --begin;
  while (end < text_.size() && is_continuation(text_[end])) ++end;
  return {origin_ + static_cast<std::uint32_t>(begin), origin_ + static_cast<std::uint32_t>(end)};
}

AlignedText AlignedText::slice(std::size_t begin, std::size_t end) const {
  const std::uint32_t origin = begin < size() ? source(begin, begin + 1).begin : origin_;
  AlignedText part(text_.substr(begin, end - begin), origin);
  if (stored_) {
    part.stored_ = true;
    part.spans_.assign(spans_.begin() + static_cast<std::ptrdiff_t>(begin),
                       spans_.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return part;
}

void AlignedText::store_spans() {
  if (stored_) return;
  stored_ = true;
  spans_.reserve(text_.size());
  for (std::size_t at = 0; at < text_.size();) {
    const std::size_t length = code_point_at(text_, at).length;
    const auto begin = static_cast<std::uint32_t>(origin_ + at);
    spans_.insert(spans_.end(), length, {begin, begin + static_cast<std::uint32_t>(length)});
    at += length;
  }
}

void AlignedText::append(std::string_view text, Span span) {
  store_spans();
  text_ += text;
  spans_.insert(spans_.end(), text.size(), span);
}

bool AlignedText::follows_source(const AlignedText& other, std::size_t begin) const {
  return !stored_ && !other.stored_ && origin_ + text_.size() == other.origin_ + begin;
}

void AlignedText::append(const AlignedText& other, std::size_t begin, std::size_t end) {
  if (!follows_source(other, begin)) {
    store_spans();
    for (std::size_t at = begin; at < end; ++at) spans_.push_back(other.source(at, at + 1));
  }
  text_.append(other.text_, begin, end - begin);
}

void AlignedEdit::skip_character() {
  if (at_ < from_.size()) at_ += code_point_at(from_.text(), at_).length;
}

void AlignedEdit::put(char32_t c, int change) {
  std::string text;
  append_utf8(text, c);
  if (change == 0 && from_.text().compare(at_, text.size(), text) == 0) return keep(text.size());
  Span span{from_.origin(), from_.origin()};
  if (change > 0) {
    if (at_ > 0) span = from_.source(at_ - 1, at_);
  } else {
    // Reordering can leave a change that reaches past the end; it stands for the last character.
    const std::size_t at = std::min(at_, from_.size() - 1);
    span = from_.source(at, at + 1);
    for (int skipped = 0; skipped <= -change; ++skipped) skip_character();
  }
  to_.append(text, span);
}

void AlignedEdit::keep(std::size_t bytes) {
  to_.append(from_, at_, at_ + bytes);
  at_ += bytes;
}

}  // namespace diffllama
