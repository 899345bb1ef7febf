#include "training/data/checksum.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace diffllama {
namespace {

std::uint64_t checksum(std::string_view text) {
  Checksum sum;
  sum.add(text);
  return sum.value();
}

// The check value of the catalogue of CRC algorithms, and the empty text.
TEST(Checksum, IsCrc64Xz) {
  EXPECT_EQ(checksum("123456789"), 0x995DC9BBDF1939FAU);
  EXPECT_EQ(checksum(""), 0U);
}

TEST(Checksum, DoesNotDependOnThePieces) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * 37);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Checksum sum;
    sum.add(std::string_view(text).substr(0, cut));
    sum.add(std::string_view(text).substr(cut));
    EXPECT_EQ(sum.value(), checksum(text)) << cut;
  }
}

TEST(Checksum, AddsIntegersLowestByteFirst) {
  Checksum sum;
  sum.add(std::uint64_t{0x3837363534333231});
  EXPECT_EQ(sum.value(), checksum("12345678"));
}

}  // namespace
}  // namespace diffllama
