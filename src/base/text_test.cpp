#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace diffllama {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

TEST(Text, PrintableTextStaysAsItIs) {
  for (const char* text : {"", "error: na\u00efve \u6771\u4eac \U0001F642 [1, 2] \\n", " a  b "}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Text, WhatActsOnATerminalIsEscaped) {
  EXPECT_EQ(printable("a\x1b[2Jb\n\r\t\x7f"), "a\\u001b[2Jb\\u000a\\u000d\\u0009\\u007f");
  EXPECT_EQ(printable(std::string("\0", 1)), "\\u0000");
  EXPECT_EQ(printable("\u009b2J \u0085"), "\\u009b2J \\u0085");
  EXPECT_EQ(printable("\u202e\u2028\u2066\u200f"), "\\u202e\\u2028\\u2066\\u200f");
}

TEST(Text, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(printable("a\xff\xc3"), "a\uFFFD\uFFFD");
  EXPECT_EQ(printable("\xe2\x82"), "\uFFFD");
  EXPECT_EQ(printable("\xc0\xaf\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(printable("\x9b"), "\uFFFD");
}

TEST(Text, LengthIsBounded) {
  const std::string word(5000, 'k');
  const std::string line = printable("key " + word + " end");
  EXPECT_THAT(line, StartsWith("key kkk"));
  EXPECT_THAT(line, HasSubstr("...(5000 bytes)..."));
  EXPECT_THAT(line, EndsWith("kkk end"));
  EXPECT_THAT(line, SizeIs(4 + 400 + 4));
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += "[1, ";
  EXPECT_LE(printable(many).size(), 65'536U);
  EXPECT_LE(printable(many, 1000).size(), 1000U);
  EXPECT_LE(printable(std::string(100'000, '\x1b')).size(), 400U);
}

TEST(Text, CutsBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "\u6771";
  EXPECT_TRUE(is_utf8(printable(text)));
  EXPECT_THAT(printable(text), testing::Not(HasSubstr("\uFFFD")));
  EXPECT_EQ(shortened("\u6771\u4eac", 4), "\u6771...");
  EXPECT_EQ(shortened("abc", 3), "abc");
}

TEST(Text, ALineIsPrintedTheSameTwice) {
  const std::string line = printable("\x1b\xff " + std::string(3000, 'x') + "\n");
  EXPECT_EQ(printable(line), line);
}

TEST(Text, KnowsUtf8) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("a\u00e9\u6771\U0001F642"));
  for (const char* text : {"\x80", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                           "\xf0\x80\x80\x80", "\xe0\x80\x80", "a\xff"}) {
    EXPECT_FALSE(is_utf8(text)) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace diffllama
