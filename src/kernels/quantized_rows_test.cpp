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

TEST_P(QuantizeRowOnIsa, RoundsToNearestEvenOfMaximumOver127) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (const int blocks : {0, 1, 5}) {
    std::vector<float> x(static_cast<std::size_t>(blocks) * 32);
    for (float& value : x) value = normal(random) * std::exp2(normal(random) * 20);
    const QuantizedRow row = quantize(x);
    for (std::int64_t b = 0; b < blocks; ++b) {
      float maximum = 0.0F;
      for (std::int64_t i = 0; i < 32; ++i) {
        maximum = std::max(maximum, std::abs(x[static_cast<std::size_t>(32 * b + i)]));
      }
      ASSERT_EQ(row.scales()[b], maximum / 127.0F);
      int sums[2] = {0, 0};
      for (std::int64_t i = 0; i < 32; ++i) {
        const float scaled = x[static_cast<std::size_t>(32 * b + i)] * (127.0F / maximum);
        ASSERT_EQ(row.quants()[32 * b + i], std::lrint(scaled)) << i;
        sums[i / 16] += row.quants()[32 * b + i];
      }
      ASSERT_EQ(row.sums()[2 * b], sums[0]);
      ASSERT_EQ(row.sums()[2 * b + 1], sums[1]);
      ASSERT_EQ(row.scaled_sums()[b], row.scales()[b] * static_cast<float>(sums[0] + sums[1]));
    }
  }
}

TEST_P(QuantizeRowOnIsa, ZerosAndTheSmallestValuesAreZero) {
  for (const float value : {0.0F, -0.0F, 1e-37F, std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> x(32, 0.0F);
    x[7] = value;
    const QuantizedRow row = quantize(x);
    EXPECT_EQ(row.scales()[0], 0.0F);
    EXPECT_EQ(row.quants()[7], 0);
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
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizeRowOnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

}  // namespace
}  // namespace diffllama
