#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace diffllama {

/// How many tokens to guess. As transformers' heuristic: two more where all were right, fewer where
/// not; and where none is ever right, guessing pauses for twice as many tokens each time, so that
/// it costs next to nothing.
class DraftLength {
 public:
  /// For the next token, at most `most` (>= 1); 0 in a pause.
  std::int64_t next(std::int64_t most);
  /// What became of `drafted` (>= 1) guesses.
  void update(std::int64_t drafted, std::int64_t accepted);

 private:
  std::int64_t length_ = 2;
  std::int64_t pause_ = 0, next_pause_ = 2;  // in tokens
};

/// Prompt lookup: `draft` becomes the at most `count` tokens that follow the last earlier place of
/// `ids` where its last n tokens stand, for the largest n from `max_ngram` to 1 that has one;
/// empty: there is none. (transformers takes the first such place. The last one tells a text that
/// repeats itself from its prompt.)
void look_up(std::span<const std::int64_t> ids, std::int64_t max_ngram, std::int64_t count,
             std::vector<std::int64_t>& draft);

}  // namespace diffllama
