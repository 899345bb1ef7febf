#include "tokenizer/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> matches_of(const std::string& pattern, const std::string& text) {
  const Pattern compiled = Pattern::regex(pattern, "test");
  std::vector<Match> matches;
  Pattern::Matcher(compiled).find(text, matches);
  std::vector<std::string> found;
  for (const Match& match : matches) {
    if (match.matched) found.push_back(text.substr(match.begin, match.end - match.begin));
  }
  return found;
}

std::string refusal_of(const std::string& pattern, const std::string& text = "") {
  try {
    matches_of(pattern, text);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

using Strings = std::vector<std::string>;

TEST(Pattern, MeansWhatOnigurumaMeans) {
  EXPECT_EQ(matches_of("\\s", "a\u0085b\u180ec\u3000"), (Strings{"\u0085", "\u3000"}));
  EXPECT_EQ(matches_of("[^\\S\\n]", " \n\u2003"), (Strings{" ", "\u2003"}));
  EXPECT_EQ(matches_of("\\w+", "e\u0301 \u00b2 \u203f \u20ac"),
            (Strings{"e\u0301", "\u00b2", "\u203f"}));
  EXPECT_EQ(matches_of("\\h", "afgAFG9"), (Strings{"a", "f", "A", "F", "9"}));
  EXPECT_EQ(matches_of("\\d{1,3}+", "1234567"), (Strings{"1234567"})) << "repeats the interval";
  EXPECT_EQ(matches_of("\\d{,2}x", "123x"), (Strings{"23x"}));
  EXPECT_EQ(matches_of("\\d{2}?", "123"), (Strings{"12", ""})) << "optional, not lazy";
  EXPECT_EQ(matches_of("x{a}", "x{a}"), (Strings{"x{a}"}));
  EXPECT_EQ(matches_of("(?m:a.)", "a\n"), (Strings{"a\n"}));
  EXPECT_EQ(matches_of("^b$", "a\nb\nc"), (Strings{"b"}));
  EXPECT_EQ(matches_of("(?i:'s)", "'S '\u017f"), (Strings{"'S", "'\u017f"}));
  EXPECT_EQ(matches_of("[[:punct:]]", "a+\u20ac!"), (Strings{"+", "\u20ac", "!"}));
  EXPECT_EQ(matches_of("a*", "baac"), (Strings{"", "aa", ""}));
  // A cluster goes on where a match begins inside it.
  EXPECT_EQ(matches_of("\\X{2}", "\U0001F469\u200d\U0001F467"), Strings{});
}

TEST(Pattern, LeavesToOnigurumaWhatPcre2CannotSay) {
  EXPECT_EQ(matches_of("[a[bc]]+", "xabcx"), (Strings{"abc"}));
  EXPECT_EQ(matches_of("[a-z&&[^x]]+", "abxcd"), (Strings{"ab", "cd"}));
  EXPECT_EQ(matches_of("[\\W]", "a-b"), (Strings{"-"}));
  EXPECT_EQ(matches_of("/\\*(?~\\*/)\\*/", "/* a *//* b */"), (Strings{"/* a */", "/* b */"}));
}

// Every character of the planes 0, 1 and 14, which hold all that properties tell apart but for
// ideographs.
std::string all_characters() {
  std::string text;
  for (char32_t c = 0; c < 0xe0200; ++c) {
    if (c == 0x20000) c = 0xe0000;
    if (c < 0xd800 || c > 0xdfff) append_utf8(text, c);
  }
  return text;
}

// A set inside a set goes to Oniguruma, so that both say what they mean by a name.
TEST(Pattern, PropertiesHoldTheCharactersThatTheyHoldInOniguruma) {
  const std::string text = all_characters();
  for (const std::string name :
       {"Common",   "Inherited",  "Han",       "Hiragana",  "Katakana",    "Latin",      "Greek",
        "Cyrillic", "Arabic",     "Hebrew",    "Thai",      "Hangul",      "Devanagari", "Bengali",
        "Bopomofo", "Georgian",   "Armenian",  "Mongolian", "Syriac",      "Coptic",     "han",
        "Zyyy",     "Alphabetic", "Uppercase", "Lowercase", "White_Space", "Emoji",      "Any",
        "L",        "Lu",         "Ll",        "Lt",        "Lm",          "Lo",         "M",
        "Mn",       "N",          "Nd",        "Nl",        "No",          "P",          "Pc",
        "S",        "Sc",         "Z",         "Zs",        "Cc",          "Cf",         "Word"}) {
    SCOPED_TRACE(name);
    const std::string property = std::string("\\p{").append(name).append("}");
    const Strings expected = matches_of(std::string("[[").append(property).append("]]+"), text);
    EXPECT_EQ(matches_of(property + "+", text), expected);
    EXPECT_EQ(matches_of(std::string("[").append(property).append("]+"), text), expected);
    EXPECT_EQ(matches_of(std::string("[^\\P{").append(name).append("}]+"), text), expected);
    EXPECT_EQ(matches_of(std::string("[^\\p{^").append(name).append("}]+"), text), expected);
  }
  EXPECT_EQ(matches_of("\\p{Han}+|\\p{Katakana}", "\u4e2d\u3001\u30a2\u30fc"),
            (Strings{"\u4e2d", "\u30a2"}));
}

TEST(Pattern, ASetHasNoSuperscriptsAmongItsWordCharacters) {
  const std::string text = "a\u00b2\u00b3\u00b9\u00bc\u00bd\u00beb";
  EXPECT_EQ(matches_of("\\w+", text), Strings{text});
  for (const char* others : {"[^\\w\\s]+", "[^[\\w]]+", "[^[:word:]]+", "\\P{Word}+"}) {
    EXPECT_EQ(matches_of(others, text), Strings{text.substr(1, text.size() - 2)}) << others;
  }
  for (const char* words : {"[\\w]+", "[[\\w]]+", "[[:word:]]+", "\\p{Word}+"}) {
    EXPECT_EQ(matches_of(words, text), (Strings{"a", "b"})) << words;
  }
  EXPECT_EQ(matches_of("\\b.", text), Strings{"a"});
}

TEST(Pattern, RefusesWhatIsNoRegularExpression) {
  EXPECT_EQ(refusal_of("(a"),
            "test: expected a regular expression that Oniguruma compiles, got \"(a\": end pattern "
            "with unmatched parenthesis");
  for (const std::string pattern :
       {"a)", "*a", "(*LIMIT_MATCH=9)a", "\\", "[a", "\\p{Nonsense}", "\\p{Xan}", "\\p{sc:Han}"}) {
    EXPECT_THAT(refusal_of(pattern), HasSubstr("that Oniguruma compiles")) << pattern;
  }
  EXPECT_THAT(refusal_of(std::string(70000, 'a')), HasSubstr("at most 65536 bytes"));
  EXPECT_THAT(refusal_of(std::string(10000, '(') + std::string(10000, ')')),
              HasSubstr("that Oniguruma compiles"));
}

TEST(Pattern, StopsARegularExpressionThatBacktracksForEver) {
  for (const std::string pattern : {"(a+)+$|b", "(a|a)*[bc]", "(a*)*(a*)*(a*)*[bc]",
                                    "(?:a?){40}a{40}[bc]", "a*a*a*a*a*[bc]", "(a+)+$|[b[c]]"}) {
    EXPECT_THAT(refusal_of(pattern, std::string(5000, 'a') + "d"),
                StartsWith("test: the regular expression"))
        << pattern;
  }
}

TEST(Pattern, TakesLongRunsOfOneKind) {
  const std::string gpt4 = R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string spaces(1 << 20, ' ');
  EXPECT_EQ(matches_of(gpt4, spaces + "a").size(), 3U);
  EXPECT_EQ(matches_of(gpt4, spaces), (Strings{spaces}));
  EXPECT_EQ(matches_of(gpt4, std::string(1 << 20, 'a')).size(), 1U);
  EXPECT_EQ(matches_of(gpt4, std::string(1 << 20, '!')).size(), 1U);
}

TEST(Pattern, ReadsJson) {
  EXPECT_THAT(
      [] {
        Pattern::from_json(nlohmann::json{{"Glob", "*"}}, "here");
      },
      testing::ThrowsMessage<FormatError>(
          R"(here: expected {"String": "..."} or {"Regex": "..."}, got {"Glob":"*"})"));
}

}  // namespace
}  // namespace diffllama
