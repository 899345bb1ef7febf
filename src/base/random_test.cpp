#include "base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace diffllama {
namespace {

// Known answers of Random123's kat_vectors for philox4x32-10.
TEST(Random, MatchesThePhiloxVectors) {
  EXPECT_THAT(Random(0, 0).block(0),
              testing::ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  const std::uint64_t ones = ~std::uint64_t{0};
  EXPECT_THAT(Random(ones, ones).block(ones),
              testing::ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
}

TEST(Random, MomentsOfNormalAndUniform) {
  const Random random(7, 3);
  const int n = 200'000;
  double sum = 0, squares = 0, uniform_sum = 0;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal(i);
    sum += x;
    squares += x * x;
    uniform_sum += random.uniform(i);
  }
  // Five standard errors of each mean.
  EXPECT_LT(std::abs(sum / n), 5 / std::sqrt(n));
  EXPECT_LT(std::abs(squares / n - 1), 5 * std::sqrt(2.0 / n));
  EXPECT_LT(std::abs(uniform_sum / n - 0.5), 5 * std::sqrt(1.0 / 12 / n));
}

TEST(Random, StreamsAndSeedsDiffer) {
  EXPECT_NE(Random(1, 0).block(5), Random(2, 0).block(5));
  EXPECT_NE(Random(1, 0).block(5), Random(1, 1).block(5));
}

}  // namespace
}  // namespace diffllama
