#include "generation/constraints/decimal.h"

#include <gtest/gtest.h>

namespace diffllama {
namespace {

TEST(Decimal, IsTheSameHoweverItIsWritten) {
  for (const char* text : {"1200", "1.2e3", "0.12E+4", "1200.00", "12000000e-4", "00120e1"}) {
    EXPECT_EQ(Decimal::of(text), Decimal::of("1200")) << text;
  }
  for (const char* text : {"0", "-0", "0.000", "0e99999999999999999999", "-0.0e-3"}) {
    EXPECT_EQ(Decimal::of(text), Decimal()) << text;
  }
}

TEST(Decimal, Ascends) {
  const char* texts[] = {"-1e99999999999999999999",
                         "-9223372036854775809",
                         "-9223372036854775808",
                         "-1.5",
                         "-1.25",
                         "-0.001",
                         "0",
                         "1e-99999999999999999999",
                         "0.09",
                         "0.1",
                         "0.12",
                         "1",
                         "9007199254740992",
                         "9007199254740993",
                         "12345678901234567890123",
                         "12345678901234567890123.5",
                         "1e300"};
  for (std::size_t i = 0; i < std::size(texts); ++i) {
    for (std::size_t j = 0; j < std::size(texts); ++j) {
      EXPECT_EQ(Decimal::of(texts[i]) < Decimal::of(texts[j]), i < j)
          << texts[i] << " " << texts[j];
      EXPECT_EQ(Decimal::of(texts[i]) > Decimal::of(texts[j]), i > j)
          << texts[i] << " " << texts[j];
    }
  }
}

TEST(Decimal, KnowsIntegers) {
  for (const char* text : {"0", "-7", "1.0", "1.5e1", "12345678901234567890123"}) {
    EXPECT_TRUE(Decimal::of(text).is_integer()) << text;
  }
  for (const char* text : {"0.5", "1.5", "15e-1", "12345678901234567890123.5", "1e-400"}) {
    EXPECT_FALSE(Decimal::of(text).is_integer()) << text;
  }
}

}  // namespace
}  // namespace diffllama
