#include "generation/constraints/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "diffllama/error.h"
#include "generation/constraints/automaton.h"
#include "generation/constraints/test_vocabulary.h"

namespace diffllama {
namespace {

using testing::HasSubstr;

bool matches(const std::string& regex, const std::string& text, bool search = false) {
  Grammar grammar("regex", {});
  const Grammar::Rule root = grammar.add_rule("root");
  grammar.define(root, parse_regex(grammar, regex, search));
  const ByteGraph graph = ByteGraph::compile(grammar, root);
  Automaton automaton(graph, "regex", std::size_t{1} << 28);
  Automaton::State state = automaton.start();
  for (const char c : text) {
    state = automaton.next(state, static_cast<std::uint8_t>(c));
    if (state == Automaton::kDead) return false;
  }
  return automaton.accepts(state);
}

std::string refusal(const std::string& regex, const ConstraintLimits& limits = {}) {
  try {
    compile_regex(regex, test_vocabulary(), limits);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Regex, MatchesWholeTexts) {
  const struct {
    const char* regex;
    std::string text;
    bool matches;
  } cases[] = {
      {"abc", "abc", true},
      {"abc", "abcd", false},
      {"", "", true},
      {"a*b+", "aab", true},
      {"a*b+", "aa", false},
      {"a*?b+?", "aab", true},
      {"(ab|cd){2,3}", "abcdab", true},
      {"(ab|cd){2,3}", "ab", false},
      {"(ab|cd){2,3}", "abababab", false},
      {"(a*){3,5}", "", true},
      {"(a*b?){3,5}", "aaabab", true},
      {"(?:a?){20}a{20}", std::string(20, 'a'), true},
      {"((a+)+)+b", "aaaaaaaab", true},
      {"a{2,}", "a", false},
      {"a{2,}", "aaaa", true},
      {"a{3}", "aaa", true},
      {"a{0}b", "b", true},
      {"(a|aa|aaa){50,1000}", std::string(100, 'a'), true},
      {"(a|aa|aaa){50,1000}", std::string(49, 'a'), false},
      {".{0,10000}", std::string(10000, 'x'), true},
      {".{0,10000}", std::string(10001, 'x'), false},
      {"[0-9]{4}-[0-9]{2}", "2024-11", true},
      {"[^a]", "\xc3\xa9", true},
      {"[^a]", "\xc3", false},
      {"[a-]", "-", true},
      {"[\\]\\-x]", "]", true},
      {".", "\xf0\x9f\x99\x82", true},
      {".", "\n", false},
      {R"(\d{3}\.\w)", "123._", true},
      {"\\D", "1", false},
      {"\\D|[^\\d]", "\xd9\xa1", false},
      {"[^\\S]", "\xc2\x85", false},
      {"\\W\\S", "-x", true},
      {"\\s", "\xc2\xa0", true},
      {R"(\u0041\x42\u{1F600}\uD83D\uDE00)", "AB\xf0\x9f\x98\x80\xf0\x9f\x98\x80", true},
      {"\\p{Lu}\\P{Lu}", "\xc3\x89x", true},
      {"(?<year>[0-9]+)", "12", true},
      {R"({"n": \d{2}})", R"({"n": 12})", true},
      {"a{|{}|{x}|a{1|{,x}|]}", "a{", true},
      {"a{|{}|{x}|a{1|{,x}|]}", "{}", true},
      {"a{|{}|{x}|a{1|{,x}|]}", "a{1", true},
      {"a{|{}|{x}|a{1|{,x}|]}", "]}", true},
      {"a{|{}|{x}|a{1|{,x}|]}", "a", false},
      {"^a$", "a", true},
  };
  for (const auto& [regex, text, expected] : cases) {
    EXPECT_EQ(matches(regex, text), expected) << regex << " on " << text.substr(0, 30);
  }
}

TEST(Regex, FindsAPartUnlessAnchored) {
  const struct {
    const char *regex, *text;
    bool matches;
  } cases[] = {{"b", "abc", true},       {"^b", "abc", false},     {"b$", "abc", false},
               {"^(a|b)$", "b", true},   {"^(a|b)$", "bb", false}, {"^a|b$", "axx", true},
               {"^a|b$", "xxb", true},   {"^a|b$", "xx", false},   {"(^a$)", "a", true},
               {"(^a$)|c", "xcx", true}, {"(^a$)", "aa", false},   {"", "anything", true}};
  for (const auto& [regex, text, expected] : cases) {
    EXPECT_EQ(matches(regex, text, true), expected) << regex << " on " << text;
  }
}

TEST(Regex, RefusesWithThePlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"(a", "expected ), got the end at byte 2"},
      {"a)", "expected the end or an operator, got \")\" at byte 1"},
      {"[a", "expected ], got the end"},
      {"a{3,2}", "bounds in ascending order"},
      {"a{,3}", "a number"},
      {"{2}", "a character"},
      {"{,3}", "a character"},
      {"\\1", "no backreference"},
      {"\\bx", "no \\b"},
      {"(?=a)", "without lookaround"},
      {"(?<=a)", "without lookaround"},
      {"(?i)a", "without lookaround or flags"},
      {"a**", "one quantifier"},
      {"*", "a character"},
      {"a^b", "no ^ but at the ends"},
      {"a$b", "no $ but at the ends"},
      {"\\p{Script=Latin}", "a general category"},
      {"[z-a]", "ascending order"},
      {"\\", "a character after \\"},
      {"x{99999999}", "at most 1000000 repetitions"},
      {"\\u{110000}", "a code point up to 10FFFF"},
      {"\\ud800", "a code point that UTF-8 has"},
      {"\xff", "UTF-8"},
  };
  for (const auto& [regex, message] : cases) {
    EXPECT_THAT(refusal(regex), HasSubstr(message)) << regex;
  }
  EXPECT_THAT(refusal("[^\\s\\S]"), HasSubstr("got what none can"));
}

// What is made to take time or memory ends in an error, or is done without either.
TEST(Regex, HostileOnes) {
  EXPECT_THAT(refusal(std::string(100000, '(')), HasSubstr("nested at most 200 deep"));
  std::string nested = "a";
  for (int i = 0; i < 100; ++i) nested.insert(0, "(").append("){2,1000}");
  EXPECT_EQ(refusal(nested), "accepted");
  nested = "(a?)";
  for (int i = 0; i < 100; ++i) nested.insert(0, "(").append(")*");
  EXPECT_TRUE(matches(nested, "aaaa"));
  std::string many;
  for (int i = 0; i < 50000; ++i) many += "a{0,1000}";
  std::string classes;
  for (int i = 0; i < 1000; ++i) classes += R"([\W\p{L}])";
  EXPECT_THAT(refusal(classes, {.steps = 200000}), HasSubstr("in 200000 steps, got more"));
  EXPECT_THAT(refusal(many, {.steps = 10000}), HasSubstr("in 10000 steps, got more"));
  EXPECT_FALSE(matches("(a|a)*(a|a)*(a|a)*b", std::string(2000, 'a')));
}

TEST(Regex, AmbiguousCountsEndInAnErrorOfMemory) {
  const auto constraint = compile_regex("((a|aa|aaa){1,100000}|(a|b|aa){1,100000})*c",
                                        test_vocabulary(), {.memory = std::size_t{1} << 20});
  EXPECT_THROW(constraint->accepts(std::string(20000, 'a')), Error);
}

}  // namespace
}  // namespace diffllama
