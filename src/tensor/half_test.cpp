#include "tensor/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace diffllama {
namespace {

// The definition: (-1)^s * 2^(e-15) * 1.m, or 2^-14 * 0.m for e = 0.
float float16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

TEST(Float16, ReadsEveryFloat16) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float expected = float16_value(half);
    const float value = float16_to_float(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(float16_value(float_to_float16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(value), std::bit_cast<std::uint32_t>(expected)) << bits;
    ASSERT_EQ(float_to_float16(value), half);
  }
}

TEST(Float16, RoundsToTheNearestFloat16AndTiesToEven) {
  for (std::uint16_t bits = 0; bits < 0x7c00; ++bits) {
    const auto next = static_cast<std::uint16_t>(bits + 1);
    const float low = float16_value(bits);
    const float high = next == 0x7c00 ? 65536.0F : float16_value(next);
    const float middle = low + (high - low) / 2;  // exact: float32 has 13 more bits
    const float below = std::nextafter(middle, 0.0F);
    const float above = std::nextafter(middle, INFINITY);
    ASSERT_EQ(float_to_float16(middle), bits % 2 == 0 ? bits : next) << bits;
    ASSERT_EQ(float_to_float16(below), bits) << bits;
    ASSERT_EQ(float_to_float16(above), next) << bits;
    ASSERT_EQ(float_to_float16(-above), next | 0x8000) << bits;
  }
  EXPECT_EQ(float_to_float16(1e30F), 0x7c00);
  EXPECT_EQ(float_to_float16(-INFINITY), 0xfc00);
}

}  // namespace
}  // namespace diffllama
