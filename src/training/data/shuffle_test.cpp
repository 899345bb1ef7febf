#include "training/data/shuffle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::vector<std::int64_t> epoch(std::uint64_t seed, std::int64_t number, std::int64_t size) {
  std::vector<std::int64_t> examples;
  for (std::int64_t i = 0; i < size; ++i) {
    examples.push_back(shuffled_example(seed, number * size + i, size));
  }
  return examples;
}

void expect_permutation(const std::vector<std::int64_t>& examples) {
  std::vector<bool> seen(examples.size());
  for (const std::int64_t example : examples) {
    ASSERT_GE(example, 0);
    ASSERT_LT(example, static_cast<std::int64_t>(examples.size()));
    ASSERT_FALSE(seen[static_cast<std::size_t>(example)]) << example;
    seen[static_cast<std::size_t>(example)] = true;
  }
}

TEST(Shuffle, EachEpochIsAPermutation) {
  for (std::int64_t size = 1; size <= 300; ++size) {
    SCOPED_TRACE(size);
    for (std::int64_t number = 0; number < 3; ++number) expect_permutation(epoch(7, number, size));
  }
  for (const std::int64_t size : {1023, 1024, 1025, 4095, 4096, 4097, 65'537, 100'003}) {
    SCOPED_TRACE(size);
    expect_permutation(epoch(static_cast<std::uint64_t>(size), 1, size));
  }
}

TEST(Shuffle, DependsOnSeedAndEpoch) {
  EXPECT_EQ(epoch(1, 0, 100), epoch(1, 0, 100));
  EXPECT_NE(epoch(1, 0, 100), epoch(1, 1, 100));
  EXPECT_NE(epoch(1, 0, 100), epoch(2, 0, 100));
  EXPECT_NE(epoch(1, 0, 100), epoch(std::uint64_t{1} << 40, 0, 100));
}

// The bits are a promise: a run that continues after an update must see the same order.
TEST(Shuffle, StaysAsItIs) {
  EXPECT_THAT(epoch(42, 0, 10), testing::ElementsAre(4, 2, 9, 1, 3, 6, 8, 0, 5, 7));
}

// Every pair (index, example) is as likely as any other, and so is what follows an example: counts
// are binomial, and the chance that any of them is five standard deviations off is below 1e-4.
TEST(Shuffle, IsUniform) {
  for (const std::int64_t size : {2, 3, 5, 7}) {
    constexpr std::int64_t kEpochs = 20'000;
    std::vector<int> places(static_cast<std::size_t>(size * size));
    std::vector<int> followers(static_cast<std::size_t>(size * size));
    for (std::int64_t number = 0; number < kEpochs; ++number) {
      const auto examples = epoch(3, number, size);
      for (std::size_t i = 0; i < examples.size(); ++i) {
        ++places[i * examples.size() + static_cast<std::size_t>(examples[i])];
        if (i == 0) continue;
        ++followers[static_cast<std::size_t>(examples[i - 1] * size + examples[i])];
      }
    }
    const auto expect_near = [&](int count, double chance) {
      const double mean = kEpochs * chance;
      const double deviation = std::sqrt(mean * (1 - chance));
      EXPECT_LE(std::abs(count - mean), 5 * deviation) << "of size " << size;
    };
    for (const int count : places) expect_near(count, 1.0 / static_cast<double>(size));
    for (std::int64_t i = 0; i < size * size; ++i) {
      if (i % (size + 1) == 0) continue;  // an example never follows itself
      expect_near(followers[static_cast<std::size_t>(i)], 1.0 / static_cast<double>(size));
    }
  }
}

TEST(Shuffle, TakesTheLargestSizes) {
  const std::int64_t largest = std::int64_t{1} << 62;
  for (const std::int64_t size : {largest, largest - 1, (std::int64_t{1} << 40) + 1}) {
    const std::int64_t first = shuffled_example(1, 0, size);
    EXPECT_GE(first, 0);
    EXPECT_LT(first, size);
    EXPECT_NE(first, shuffled_example(1, 1, size));
  }
  EXPECT_EQ(shuffled_example(1, std::numeric_limits<std::int64_t>::max(), 1), 0);
}

TEST(Shuffle, RefusesWhatIsNoExample) {
  EXPECT_THAT([] { shuffled_example(1, -1, 5); },
              ThrowsMessage<InvalidArgument>(HasSubstr("got -1 among 5")));
  EXPECT_THAT([] { shuffled_example(1, 0, 0); },
              ThrowsMessage<InvalidArgument>(HasSubstr("got 0 among 0")));
}

}  // namespace
}  // namespace diffllama
