#include "kernels/quantized_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/row_kernels.h"

namespace diffllama {
namespace {

class QuantizeRowOnIsa : public testing::TestWithParam<Isa> {
 protected:
  QuantizedRow quantize(const std::vector<float>& x) {
    bytes_.assign(static_cast<std::size_t>(quantized_row_bytes(std::ssize(x))) + 1, std::byte{77});
    row_kernels(GetParam()).quantize_row(x.data(), std::ssize(x), bytes_.data());
    EXPECT_EQ(bytes_.back(), std::byte{77});
    return {bytes_.data(), std::ssize(x)};
  }
  std::vector<std::byte> bytes_;
};

std::vector<float> random_row(std::mt19937& random, int blocks) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(blocks) * 32);
  for (std::size_t b = 0; b < x.size(); b += 32) {
    const float scale = std::exp2(normal(random));
    for (std::size_t i = b; i < b + 32; ++i) x[i] = normal(random) * scale;
  }
  return x;
}

float largest_of(const std::vector<float>& x, std::int64_t block) {
  float largest = 0.0F;
  for (std::int64_t i = 0; i < 32; ++i) {
    largest = std::max(largest, std::abs(x[static_cast<std::size_t>(32 * block + i)]));
  }
  return largest;
}

/// The sums of block `block` are those of its quants.
void expect_sums(const QuantizedRow& row, std::int64_t block) {
  int sums[2] = {0, 0};
  for (std::int64_t i = 0; i < 32; ++i) sums[i / 16] += row.quants()[32 * block + i];
  ASSERT_EQ(row.sums()[2 * block], sums[0]);
  ASSERT_EQ(row.sums()[2 * block + 1], sums[1]);
  ASSERT_EQ(row.scaled_sums()[block], row.scales()[block] * static_cast<float>(sums[0] + sums[1]));
}

TEST_P(QuantizeRowOnIsa, RoundsToNearestEvenOfMaximumOver127) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const int blocks : {0, 1, 5, 48}) {
    const std::vector<float> x = random_row(random, blocks);
    const QuantizedRow row = quantize(x);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const float maximum = largest_of(x, b);
      ASSERT_EQ(row.scales()[b], maximum / 127.0F);
      for (std::int64_t i = 0; i < 32; ++i) {
        const float scaled = x[static_cast<std::size_t>(32 * b + i)] * (127.0F / maximum);
        ASSERT_EQ(row.quants()[32 * b + i], std::lrint(scaled)) << i;
      }
      expect_sums(row, b);
    }
  }
}

TEST_P(QuantizeRowOnIsa, WhatIsLeftOfTheLargestBlocksIsQuantisedAgain) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int with = 0;
  for (const int blocks : {1, 5, 48}) {
    const std::vector<float> x = random_row(random, blocks);
    const QuantizedRow row = quantize(x);
    const QuantizedRow residual = row.residual();
    float sum = 0.0F;
    for (std::int64_t b = 0; b < blocks; ++b) sum += largest_of(x, b);
    std::int32_t count = 0;
    for (std::int64_t b = 0; b < blocks; ++b) {
      if (!(largest_of(x, b) > 1.25F * (sum / static_cast<float>(blocks)))) continue;
      ASSERT_LT(count, row.residual_count());
      ASSERT_EQ(row.residual_blocks()[count], b);
      ASSERT_EQ(residual.scales()[count], row.scales()[b] / 254.0F);
      for (std::int64_t i = 0; i < 32; ++i) {
        const float value = x[static_cast<std::size_t>(32 * b + i)];
        const float scaled = value * (127.0F / largest_of(x, b));
        ASSERT_EQ(residual.quants()[std::int64_t{32} * count + i],
                  std::lrint((scaled - std::nearbyint(scaled)) * 254.0F));
        const double both =
            double{row.scales()[b]} * row.quants()[32 * b + i] +
            double{residual.scales()[count]} * residual.quants()[std::int64_t{32} * count + i];
        // Half a step of the residual quants, and some roundings of numbers up to 127 scales.
        ASSERT_TRUE(std::abs(both - value) <= row.scales()[b] * (0.5 / 254 + 127 * 4 * 0x1p-24));
      }
      expect_sums(residual, count++);
    }
    ASSERT_EQ(row.residual_count(), count);
    with += count;
  }
  EXPECT_GT(with, 0);
}

TEST_P(QuantizeRowOnIsa, ZerosAndTheSmallestValuesAreZero) {
  for (const float value : {0.0F, -0.0F, 1e-37F, std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> x(32, 0.0F);
    x[7] = value;
    const QuantizedRow row = quantize(x);
    EXPECT_EQ(row.scales()[0], 0.0F);
    EXPECT_EQ(row.quants()[7], 0);
    EXPECT_EQ(row.residual_count(), 0);
  }
}

TEST_P(QuantizeRowOnIsa, NanAndInfinityMakeTheirBlockNan) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(64, 1.0F);
    x[40] = value;
    const QuantizedRow row = quantize(x);
    EXPECT_EQ(row.scales()[0], 1.0F / 127.0F);
    EXPECT_TRUE(std::isnan(row.scales()[1]));
    EXPECT_TRUE(std::isnan(row.scaled_sums()[1]));
    EXPECT_EQ(row.quants()[33], 0);
    EXPECT_EQ(row.residual_count(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizeRowOnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

}  // namespace
}  // namespace diffllama
