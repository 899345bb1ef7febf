#include "generation/constraints/gbnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "diffllama/error.h"
#include "generation/constraints/test_vocabulary.h"

namespace diffllama {
namespace {

using testing::HasSubstr;

bool matches(const std::string& grammar, const std::string& text) {
  return compile_grammar(grammar, test_vocabulary(), {})->accepts(text);
}

std::string refusal(const std::string& grammar, const ConstraintLimits& limits = {}) {
  try {
    compile_grammar(grammar, test_vocabulary(), limits);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Gbnf, ReadsEveryConstruct) {
  const std::string list = R"(# a list of moves
root ::= ("1. " move " " move "\n") ([1-9] [0-9]? ". " move
         " " move "\n")+   # more of them
move ::= (pawn | nonpawn |
          castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
)";
  EXPECT_TRUE(matches(list, "1. e4 e5\n2. Nf3 Nc6\n"));
  EXPECT_FALSE(matches(list, "1. e4 e5\n"));
  EXPECT_FALSE(matches(list, "1. e9 e5\n2. Nf3 Nc6\n"));
  EXPECT_TRUE(matches("root ::= \"a\"{2,3} \"b\"{1} [^a-c]{0,} .", "aabxyzz"));
  EXPECT_TRUE(matches("root ::= \"\\x41\\u00e9\\U0001F600\\\"\\\\\\t\"",
                      "A\xc3\xa9\xf0\x9f\x98\x80\"\\\t"));
  EXPECT_TRUE(matches("root ::= \"\"", ""));
  EXPECT_TRUE(matches("root ::= a | b\r\na ::= \"x\"\r\nb ::= \"y\"", "y"));
}

TEST(Gbnf, RulesMayComeBackToThemselves) {
  const std::string nested = "root ::= \"(\" root* \")\"";
  EXPECT_TRUE(matches(nested, "(()(()))"));
  EXPECT_FALSE(matches(nested, "(()"));
  EXPECT_TRUE(matches("root ::= \"a\" root | \"a\"", std::string(20000, 'a')));
  EXPECT_TRUE(matches("root ::= x x\nx ::= \"\" | \"a\" x", "aaa"));
}

TEST(Gbnf, RefusesWithTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "expected a rule \"root\", got none"},
      {"a ::= \"x\"", "expected a rule \"root\""},
      {"root ::= a", "expected a definition of the rule \"a\""},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2: expected each rule once"},
      {"root = \"a\"", "line 1: expected ::="},
      {"root ::= \"a\n\"", "expected \""},
      {"root ::= (\"a\"", "expected )"},
      {"root ::= [a", "expected ]"},
      {R"(root ::= "\q")", "one of the escapes"},
      {"root ::= \"a\"{3,1}", "ascending order"},
      {"root ::= \"a\"{1,9999999}", "at most 1000000"},
      {R"(root ::= "\uD800")", "a code point that UTF-8 has"},
      {"root ::= <think>", "the end of the line"},
      {R"(root ::= root "a" | "b")", "do not begin with themselves"},
      {"root ::= a\na ::= \"\"? b\nb ::= a", "do not begin with themselves"},
      {"root ::= a \"x\"\na ::= \"y\" a", "got what none can"},
      {"root ::= \"\xff\"", "UTF-8"},
  };
  for (const auto& [grammar, message] : cases) {
    EXPECT_THAT(refusal(grammar), HasSubstr(message)) << grammar;
  }
}

TEST(Gbnf, HostileOnes) {
  EXPECT_THAT(refusal("root ::= " + std::string(100000, '(')), HasSubstr("nested at most 200"));
  std::string chain = "root ::= r0?\n";
  for (int i = 0; i < 100000; ++i) {
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "* r" +
             std::to_string(i + 1) + "?\n";
  }
  EXPECT_THAT(refusal(chain + "r100000 ::= \"a\"?"), HasSubstr("deep, got more"));
  std::string doubled = "root ::= r0\n";
  for (int i = 0; i < 60; ++i) {
    doubled += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " r" +
               std::to_string(i + 1) + "\n";
  }
  std::string optional = "root ::=";  // each letter may be the first
  for (int i = 0; i < 70000; ++i) optional += " \"a\"?";
  EXPECT_THAT(refusal(optional), HasSubstr("at most 65536 ways to go on, got more"));
  EXPECT_EQ(refusal(doubled + "r60 ::= \"a\""), "accepted");  // 2^60 letters, in 61 rules
}

}  // namespace
}  // namespace diffllama
