#include "base/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/text.h"

namespace diffllama {
namespace {

TEST(Utf8, WritesWhatItReads) {
  for (const char32_t code : {U'\0', U'\x7f', U'\x80', U'\u07ff', U'\u0800', U'\ud7ff', U'\uffff',
                              U'\U00010000', U'\U0010ffff'}) {
    std::string text;
    append_utf8(text, code);
    ASSERT_TRUE(is_utf8(text));
    EXPECT_EQ(code_point_at(text, 0).value, code);
    EXPECT_EQ(code_point_at(text, 0).length, text.size());
    EXPECT_EQ(count_code_points(text), 1U);
  }
}

// As Python's bytes.decode("utf-8", "replace") has them.
TEST(Utf8, ReplacesMaximalSubparts) {
  EXPECT_EQ(replace_invalid_utf8("a\xff"
                                 "b"),
            "a\uFFFDb");
  EXPECT_EQ(replace_invalid_utf8("\xe6\x9d"), "\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xe6\x9d"
                                 "x\xf0\x9f\x99"),
            "\uFFFDx\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_TRUE(utf8_step("\xe6\x9d").cut_short);
  EXPECT_FALSE(utf8_step("\xe6x").cut_short);
}

TEST(Utf8, RandomBytesBecomeUtf8) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 20, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? 'a' : random() & 0xFF);
    const std::size_t valid = valid_utf8_bytes(bytes);
    EXPECT_TRUE(is_utf8(bytes.substr(0, valid)));
    EXPECT_EQ(is_utf8(bytes), valid == bytes.size());
    const std::string text = replace_invalid_utf8(bytes);
    EXPECT_TRUE(is_utf8(text));
    EXPECT_EQ(text == bytes, is_utf8(bytes));
  }
}

}  // namespace
}  // namespace diffllama
