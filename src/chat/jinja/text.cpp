#include "chat/jinja/text.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace diffllama::jinja {

Text::Text(std::string bytes, bool content) : bytes_(std::move(bytes)) {
  if (!bytes_.empty()) runs_.push_back({bytes_.size(), content});
}

bool Text::content_at(std::size_t byte) const {
  const auto run = std::ranges::upper_bound(runs_, byte, {}, &Run::end);
  return run != runs_.end() && run->content;
}

void Text::append(std::string_view bytes, bool content) {
  if (bytes.empty()) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().content == content) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), content});
  }
}

void Text::append(const Text& other, std::size_t begin, std::size_t end) {
  if (&other == this) {
    append(Text(other), begin, end);
    return;
  }
  auto run = std::ranges::upper_bound(other.runs_, begin, {}, &Run::end);
  while (begin < end) {
    const std::size_t stop = std::min(run->end, end);
    append(std::string_view(other.bytes_).substr(begin, stop - begin), run->content);
    begin = stop;
    ++run;
  }
}

Text Text::slice(std::size_t begin, std::size_t end) const {
  Text part;
  part.append(*this, begin, end);
  return part;
}

std::size_t character_size(std::string_view text, std::size_t at) {
  return utf8_step(text.substr(at)).length;
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += character_size(text, at)) ++count;
  return count;
}

std::size_t byte_of_character(std::string_view text, std::size_t character) {
  std::size_t at = 0;
  for (; at < text.size() && character > 0; --character) at += character_size(text, at);
  return at;
}

char32_t character_at(std::string_view text, std::size_t at) {
  return utf8_step(text.substr(at)).valid ? code_point_at(text, at).value : U'\ufffd';
}

}  // namespace diffllama::jinja
