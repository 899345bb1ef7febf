// Characters whose properties are another in another version of Unicode: those that the tokenizers
// library knows count (tools/make_unicode_properties.py; tools/compare_tokenizers.py ... characters
// compares them all).
#include <gtest/gtest.h>

#include <string>

#include "tokenizer/unicode.h"
#include "tokenizer/unicode_normalization.h"

namespace diffllama {
namespace {

TEST(UnicodeProperties, AreThoseOfTheLibrarysOwnVersions) {
  // Unicode 16 has these, 15 does not.
  EXPECT_TRUE(is_numeric(0x10D40));
  EXPECT_TRUE(is_word(0x1C89));
  std::u32string lower;
  append_lowercase(lower, 0x1C89);
  append_lowercase(lower, 0x10D51);
  EXPECT_EQ(lower, (std::u32string{0x1C8A, 0x10D71}));
  // These came after Unicode 8, which part of the library stopped at.
  EXPECT_FALSE(is_punctuation(0x61D));
  EXPECT_FALSE(is_other(0x8E2));
  EXPECT_FALSE(is_mark(0x898));
  // And these have changed since.
  EXPECT_TRUE(is_punctuation(0x166D));
  EXPECT_TRUE(is_mark(0x1CF2));
  EXPECT_TRUE(is_nonspacing_mark(0x1734));
  // Unassigned, controls, formats, private use.
  EXPECT_FALSE(is_other(0x378));
  EXPECT_FALSE(is_other(0x87E77));
  EXPECT_TRUE(is_other(0x7F));
  EXPECT_TRUE(is_other(0x200B));
  EXPECT_TRUE(is_other(0xE000));
}

TEST(UnicodeProperties, LettersDigitsAndSignsAreWhatTheyAlwaysWere) {
  for (const char32_t c : {U'a', U'Z', U'0', U'9', U'_', U'\u00e9', U'\u0416', U'\u6f22'}) {
    EXPECT_TRUE(is_word(c)) << static_cast<unsigned>(c);
    EXPECT_FALSE(is_punctuation(c) && c != U'_') << static_cast<unsigned>(c);
  }
  for (const char32_t c : {U'!', U'$', U'~', U'\u2014', U'\u3002'}) EXPECT_TRUE(is_punctuation(c));
  std::u32string lower;
  for (const char32_t c : {U'A', U'\u00c9', U'\u0416', U'\u0130', U'a'}) append_lowercase(lower, c);
  EXPECT_EQ(lower, U"a\u00e9\u0436i\u0307a");
}

TEST(UnicodeProperties, WhatIsNewerThanTheNormalizationFormsStays) {
  const auto normalized = [](const char* text, NormalizationForm form) {
    return normalize_unicode(AlignedText(text), form).text();
  };
  EXPECT_EQ(normalized("\u32ff", NormalizationForm::nfkd), "\u32ff");
  EXPECT_EQ(normalized("\u3300", NormalizationForm::nfkd), "\u30a2\u30cf\u309a\u30fc\u30c8");
  // A mark of Unicode 14 keeps its place behind one of a higher class.
  EXPECT_EQ(normalized("a\u0301\u0899", NormalizationForm::nfd), "a\u0301\u0899");
  EXPECT_EQ(normalized("a\u0301\u0327", NormalizationForm::nfd), "a\u0327\u0301");
}

}  // namespace
}  // namespace diffllama
