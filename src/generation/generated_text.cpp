#include "generation/generated_text.h"

#include <algorithm>

namespace diffllama {
namespace {

// A model may have more rows than its tokenizer has tokens: such an id has no text.
std::string push_to(Tokenizer::Stream& stream, const Tokenizer& tokenizer, std::int64_t id) {
  if (id < 0 || id >= tokenizer.vocab_size()) return {};
  return stream.push(id);
}

std::size_t longest(std::span<const std::string> strings) {
  std::size_t size = 0;
  for (const std::string& text : strings) size = std::max(size, text.size());
  return size;
}

}  // namespace

GeneratedText::GeneratedText(const Tokenizer& tokenizer, std::span<const std::string> stop_strings,
                             std::span<const std::int64_t> prompt)
    : tokenizer_(&tokenizer),
      stop_strings_(stop_strings.begin(), stop_strings.end()),
      text_stream_(tokenizer, true),
      matched_stream_(tokenizer, false) {
  // A token has at least one byte: no stop string reaches further back than its own length.
  for (const std::int64_t id : prompt.last(std::min(prompt.size(), longest(stop_strings)))) {
    matched_ += push_to(matched_stream_, tokenizer, id);
  }
}

std::string_view GeneratedText::push(std::int64_t id) {
  const std::size_t matched_before = matched_.size();
  const std::size_t text_before = text_.size();
  text_ += push_to(text_stream_, *tokenizer_, id);
  if (stop_strings_.empty()) return release(text_.size());
  pieces_.push_back({matched_before, text_before});
  matched_ += push_to(matched_stream_, *tokenizer_, id);
  find_stop_string(matched_before);
  return release(stopped_ ? text_.size() : text_position(matched_.size() - held_back()));
}

std::string_view GeneratedText::finish() {
  if (!stopped_) text_ += text_stream_.finish();
  return release(text_.size());
}

// The place in text_ of a place in matched_: the same for ordinary tokens; a special token, which
// text_ lacks, is the place between its neighbours.
std::size_t GeneratedText::text_position(std::size_t matched_position) const {
  if (pieces_.empty() || matched_position < pieces_.front().matched) return 0;
  auto next = std::ranges::upper_bound(pieces_, matched_position, {}, &Piece::matched);
  const std::size_t end = next == pieces_.end() ? text_.size() : next->text;
  const Piece& piece = *std::prev(next);
  std::size_t position = std::min(end, piece.text + (matched_position - piece.matched));
  // Where the prompt ends inside a character the two differ: stay between characters all the same.
  while (position < text_.size() && (static_cast<unsigned char>(text_[position]) & 0xC0) == 0x80) {
    --position;
  }
  return position;
}

// Looks for one that the newest piece completes; the one that begins first counts.
void GeneratedText::find_stop_string(std::size_t matched_before) {
  if (matched_.size() == matched_before) return;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stop_strings_) {
    const std::size_t from = matched_before - std::min(matched_before, stop.size() - 1);
    first = std::min(first, matched_.find(stop, from));
  }
  if (first == std::string::npos) return;
  stopped_ = true;
  text_.resize(text_position(first));
}

// Bytes at the end of matched_ that may be the beginning of a stop string.
std::size_t GeneratedText::held_back() const {
  const std::string_view matched = matched_;
  std::size_t held = 0;
  for (const std::string& stop : stop_strings_) {
    for (std::size_t size = std::min(stop.size() - 1, matched.size()); size > held; --size) {
      if (matched.ends_with(std::string_view(stop).substr(0, size))) held = size;
    }
  }
  return held;
}

std::string_view GeneratedText::release(std::size_t end) {
  const std::size_t begin = std::min(released_, text_.size());
  released_ = std::max(begin, end);
  return std::string_view(text_).substr(begin, released_ - begin);
}

}  // namespace diffllama
