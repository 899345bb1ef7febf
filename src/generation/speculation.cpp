#include "generation/speculation.h"

#include <algorithm>
#include <iterator>

namespace diffllama {

std::int64_t DraftLength::next(std::int64_t most) {
  if (pause_ > 0) {
    --pause_;
    return 0;
  }
  return std::min(length_, most);
}

void DraftLength::update(std::int64_t drafted, std::int64_t accepted) {
  constexpr std::int64_t kLongestPause = 64;
  if (accepted == drafted) {
    length_ = drafted + 2;
    next_pause_ = 1;
  } else if (accepted > 0) {
    length_ = accepted;
    next_pause_ = 1;
  } else {
    length_ = 1;
    pause_ = next_pause_;
    next_pause_ = std::min(2 * next_pause_, kLongestPause);
  }
}

void look_up(std::span<const std::int64_t> ids, std::int64_t max_ngram, std::int64_t count,
             std::vector<std::int64_t>& draft) {
  draft.clear();
  const std::int64_t length = std::ssize(ids);
  for (std::int64_t n = std::min(max_ngram, length - 1); n > 0; --n) {
    const auto end = ids.last(static_cast<std::size_t>(n));
    for (std::int64_t first = length - n - 1; first >= 0; --first) {
      const auto place = ids.subspan(static_cast<std::size_t>(first));
      if (place.front() != end.front() || !std::ranges::equal(place.first(end.size()), end)) {
        continue;
      }
      const auto follows = place.subspan(end.size());
      // Where the place overlaps the end, what follows goes on in a circle.
      for (std::int64_t i = 0; i < count; ++i) {
        draft.push_back(i < std::ssize(follows)
                            ? follows[static_cast<std::size_t>(i)]
                            : draft[static_cast<std::size_t>(i - std::ssize(follows))]);
      }
      return;
    }
  }
}

}  // namespace diffllama
