#include "tokenizer/byte_level.h"
#include "tokenizer/pre_tokenizer.h"

namespace diffllama {

const AlignedText& PreTokenizedText::text() {
  if (pending_) {
    pending_ = false;
    rewrite([](const AlignedText& old, const Segment& segment, AlignedText& out) {
      for (std::uint32_t at = segment.begin; at < segment.end; ++at) {
        const auto byte = static_cast<unsigned char>(old.text()[at]);
        out.append(byte_level_character(byte), old.source(at, at + 1));
      }
    });
  }
  return text_;
}

void PreTokenizedText::map_bytes() {
  text();  // an earlier mapping must happen first
  pending_ = true;
}

void PreTokenizedText::add_parts(std::vector<Match>& matches, SplitBehavior behavior,
                                 std::uint32_t origin, std::vector<Segment>& cut) {
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (begin == end) return;
    cut.push_back({origin + static_cast<std::uint32_t>(begin),
                   origin + static_cast<std::uint32_t>(end), Segment::kNoId});
  };
  // A part joins the one before it (or after it, going backwards) by the behaviour's rule, which
  // compares whether this one and its neighbour matched.
  const auto joins = [&](bool matched, bool neighbour) {
    return behavior == SplitBehavior::contiguous ? matched == neighbour : matched && !neighbour;
  };
  switch (behavior) {
    case SplitBehavior::removed:
    case SplitBehavior::isolated:
      for (const Match& match : matches) {
        if (behavior == SplitBehavior::isolated || !match.matched) add(match.begin, match.end);
      }
      return;
    case SplitBehavior::contiguous:
    case SplitBehavior::merged_with_previous:
      for (std::size_t i = 0; i < matches.size();) {
        std::size_t last = i;
        while (last + 1 < matches.size() &&
               joins(matches[last + 1].matched, matches[last].matched)) {
          ++last;
        }
        add(matches[i].begin, matches[last].end);
        i = last + 1;
      }
      return;
    case SplitBehavior::merged_with_next:
      for (std::size_t i = 0; i < matches.size();) {
        std::size_t last = i;
        while (last + 1 < matches.size() &&
               joins(matches[last].matched, matches[last + 1].matched)) {
          ++last;
        }
        add(matches[i].begin, matches[last].end);
        i = last + 1;
      }
      return;
  }
}

}  // namespace diffllama
