#include "generation/constraints/code_points.h"

#include <algorithm>

#include "base/utf8.h"

namespace diffllama {
namespace {

constexpr char32_t kFirstSurrogate = 0xD800;
constexpr char32_t kLastSurrogate = 0xDFFF;

// Cuts a range of code points of one length so that each piece is a product of byte ranges.
void add_sequences(char32_t first, char32_t last, std::vector<ByteSequence>& sequences) {
  for (int tail = 1; tail < 4; ++tail) {
    const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      add_sequences(first, first | mask, sequences);
      add_sequences((first | mask) + 1, last, sequences);
      return;
    }
    if ((last & mask) != mask) {
      add_sequences(first, (last & ~mask) - 1, sequences);
      add_sequences(last & ~mask, last, sequences);
      return;
    }
  }
  std::string low;
  std::string high;
  append_utf8(low, first);
  append_utf8(high, last);
  ByteSequence sequence;
  const auto byte = [](char value) { return static_cast<std::uint8_t>(value); };
  for (const char first_byte : low) {
    sequence.bytes[sequence.length] = {byte(first_byte),
                                       byte(high[static_cast<std::size_t>(sequence.length)])};
    ++sequence.length;
  }
  sequences.push_back(sequence);
}

}  // namespace

CodePoints CodePoints::of(char32_t first, char32_t last) {
  CodePoints set;
  set.add(first, last);
  return set;
}

void CodePoints::add(char32_t first, char32_t last) {
  last = std::min(last, kLast);
  if (first > last) return;
  if (first < kFirstSurrogate) insert({first, std::min<char32_t>(last, kFirstSurrogate - 1)});
  if (last > kLastSurrogate) insert({std::max<char32_t>(first, kLastSurrogate + 1), last});
}

// Joins the ranges that it touches.
void CodePoints::insert(Range range) {
  const auto end_of = [](const Range& other) { return other.last + 1; };
  const auto begin = std::ranges::lower_bound(ranges_, range.first, {}, end_of);
  auto end = begin;
  for (; end != ranges_.end() && end->first <= range.last + 1; ++end) {
    range = {std::min(range.first, end->first), std::max(range.last, end->last)};
  }
  if (begin == end) {
    ranges_.insert(begin, range);
  } else {
    *begin = range;
    ranges_.erase(begin + 1, end);
  }
}

void CodePoints::add(const CodePoints& other) {
  if (other.ranges_.size() == 1) {
    insert(other.ranges_[0]);
    return;
  }
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  normalize();
}

void CodePoints::normalize() {
  std::ranges::sort(ranges_, {}, &Range::first);
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  ranges_ = std::move(merged);
}

CodePoints CodePoints::complement() const {
  CodePoints result;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) result.add(next, range.first - 1);
    next = range.last + 1;
  }
  if (next <= kLast) result.add(next, kLast);
  return result;
}

CodePoints CodePoints::intersection(const CodePoints& other) const {
  CodePoints both;
  for (auto a = ranges_.begin(), b = other.ranges_.begin();
       a != ranges_.end() && b != other.ranges_.end();) {
    const char32_t first = std::max(a->first, b->first), last = std::min(a->last, b->last);
    if (first <= last) both.ranges_.push_back({first, last});
    (a->last < b->last ? a : b)++;
  }
  return both;
}

bool CodePoints::contains(char32_t code_point) const {
  const auto next = std::ranges::upper_bound(ranges_, code_point, {}, &Range::first);
  return next != ranges_.begin() && std::prev(next)->last >= code_point;
}

std::vector<ByteSequence> utf8_sequences(const CodePoints& set) {
  constexpr char32_t kLastOfLength[] = {0x7F, 0x7FF, 0xFFFF, CodePoints::kLast};
  std::vector<ByteSequence> sequences;
  for (auto [first, last] : set.ranges()) {
    for (const char32_t end : kLastOfLength) {
      if (first > end) continue;
      add_sequences(first, std::min(last, end), sequences);
      if (last <= end) break;
      first = end + 1;
    }
  }
  return sequences;
}

std::optional<char32_t> take_code_point(std::string_view& text) {
  if (text.empty() || !utf8_step(text).valid) return std::nullopt;
  const CodePoint found = code_point_at(text, 0);
  text.remove_prefix(found.length);
  return found.value;
}

}  // namespace diffllama
