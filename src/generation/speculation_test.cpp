#include "generation/speculation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace diffllama {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<std::int64_t>;

Ids found(const Ids& ids, std::int64_t max_ngram, std::int64_t count) {
  Ids draft{77};
  look_up(ids, max_ngram, count, draft);
  return draft;
}

TEST(LookUp, FindsWhatFollowedTheLongestAlikeEnd) {
  EXPECT_THAT(found({1, 2, 3, 4, 9, 2, 8, 1, 2}, 3, 2), ElementsAre(3, 4));
  EXPECT_THAT(found({1, 2, 3, 4, 9, 2, 8, 1, 2}, 1, 2), ElementsAre(8, 1));
  EXPECT_THAT(found({5, 6, 1, 5, 7, 5}, 2, 1), ElementsAre(7)) << "the last place counts";
  EXPECT_THAT(found({1, 2, 3}, 2, 4), ElementsAre());
  EXPECT_THAT(found({1}, 2, 4), ElementsAre());
  EXPECT_THAT(found({}, 2, 4), ElementsAre());
}

TEST(LookUp, GoesOnInACircle) {
  EXPECT_THAT(found({4, 4}, 2, 3), ElementsAre(4, 4, 4));
  EXPECT_THAT(found({9, 1, 2, 3, 1, 2, 3}, 3, 7), ElementsAre(1, 2, 3, 1, 2, 3, 1));
}

TEST(DraftLength, GrowsWithSuccessAndPausesWithout) {
  DraftLength length;
  EXPECT_EQ(length.next(10), 2);
  EXPECT_EQ(length.next(1), 1);
  length.update(2, 2);
  EXPECT_EQ(length.next(10), 4);
  EXPECT_EQ(length.next(3), 3);
  length.update(4, 4);
  EXPECT_EQ(length.next(10), 6);
  length.update(6, 2);
  EXPECT_EQ(length.next(10), 2);
  std::int64_t guesses = 0;
  for (int token = 0; token < 1000; ++token) {
    const std::int64_t next = length.next(10);
    guesses += next;
    if (next > 0) length.update(next, 0);
  }
  EXPECT_LE(guesses, 30) << "what never helps costs next to nothing";
  while (length.next(10) == 0) {
  }
  length.update(1, 1);
  EXPECT_EQ(length.next(10), 3);
}

}  // namespace
}  // namespace diffllama
