#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "generation/constraints/random_schema.h"
#include "generation/constraints/schema_validator.h"
#include "generation/constraints/test_vocabulary.h"

namespace diffllama {
namespace {

// What every token does, byte by byte, in a machine that nothing was cut or kept from.
std::vector<bool> brute_force(const Constraint& constraint, const TokenBytes& bytes,
                              const std::string& text) {
  Automaton automaton(constraint.impl().graph, "test", std::size_t{1} << 30);
  Automaton::State state = automaton.start();
  for (const char c : text) state = automaton.next(state, static_cast<std::uint8_t>(c));
  std::vector<bool> allowed;
  for (const std::string& token : bytes.tokens) {
    Automaton::State next = token.empty() ? Automaton::kDead : state;
    for (const char c : token) {
      if (next != Automaton::kDead) next = automaton.next(next, static_cast<std::uint8_t>(c));
    }
    allowed.push_back(next != Automaton::kDead);
  }
  return allowed;
}

void expect_exact_masks(const Constraint& constraint, const TokenBytes& bytes,
                        std::mt19937& random) {
  std::vector<std::int64_t> ids;
  std::string text;
  for (int step = 0; step < 12; ++step) {
    const Constraint::Next next = constraint.next(ids);
    const std::vector<bool> expected = brute_force(constraint, bytes, text);
    std::vector<std::int64_t> choices;
    for (std::size_t id = 0; id < expected.size(); ++id) {
      ASSERT_EQ(is_allowed(next.allowed, id), expected[id]) << "token " << id << " after " << text;
      if (expected[id]) choices.push_back(static_cast<std::int64_t>(id));
    }
    ASSERT_EQ(next.complete, constraint.accepts(text)) << text;
    ASSERT_TRUE(next.complete || !choices.empty()) << text;
    if (choices.empty()) return;
    ids.push_back(choices[random() % choices.size()]);
    text += bytes.tokens[static_cast<std::size_t>(ids.back())];
  }
}

// 300 schemas: texts that the masks lead to satisfy them, and the masks are those of a check of
// each token.
TEST(Masks, RandomSchemas) {
  const unsigned seed = std::random_device{}();
  const TokenBytes bytes = test_vocabulary();
  int whole = 0;
  for (unsigned i = 0; i < 300; ++i) {
    RandomSchema source(seed + i);
    const std::string schema = source.make().dump();
    SCOPED_TRACE("seed " + std::to_string(seed + i) + ": " + schema);
    const auto constraint = compile_json_schema(schema, bytes, {});
    expect_exact_masks(*constraint, bytes, source.random());
    SchemaDocument document(schema, "schema");
    Grammar steps("schema", {});
    SchemaValidator validator(document, steps);
    for (int n = 0; n < 3; ++n) {
      const auto [complete, text] = random_text(*constraint, bytes, source.random(), 300);
      if (!complete) continue;
      ++whole;
      ASSERT_TRUE(constraint->accepts(text)) << text;
      ASSERT_TRUE(validator.holds(document.root(), nlohmann::ordered_json::parse(text))) << text;
    }
  }
  EXPECT_GT(whole, 300) << "seed " << seed;
}

TEST(Masks, GrammarsAndExpressions) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const TokenBytes bytes = test_vocabulary();
  for (const char* regex : {R"([a-z ]{3,9}(\d{4}-\d\d)?)", "(\xc3\xa9|\xf0\x9f\x98\x80|a)*b",
                            "[^a-z]{2,}", "(the |a |name )+id"}) {
    SCOPED_TRACE(regex);
    expect_exact_masks(*compile_regex(regex, bytes, {}), bytes, random);
  }
  for (const char* grammar :
       {R"(root ::= "[" (root ("," root)*)? "]" | [0-9]{1,3})",
        "root ::= word (\" \" word){1,40}\nword ::= [a-z]+ | \"\\\"\" . \"\\\"\""}) {
    SCOPED_TRACE(grammar);
    expect_exact_masks(*compile_grammar(grammar, bytes, {}), bytes, random);
  }
}

TEST(Masks, CountsFarFromTheirEndsShareMasks) {
  const TokenBytes bytes = test_vocabulary();
  const auto constraint = compile_regex(".{0,5000}", bytes, {});
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 400; ++i) {
    ids.push_back('x');
    constraint->next(ids);
  }
  EXPECT_LT(constraint->impl().masks.size(), 4U);
}

TEST(ConstraintCursor, GoesBackWithItsSequence) {
  const TokenBytes bytes = test_vocabulary();
  const auto constraint = compile_regex("ab|cd", bytes, {});
  ConstraintCursor cursor(constraint);
  std::vector<std::uint64_t> mask;
  cursor.follow(std::vector<std::int64_t>{'a'});
  cursor.allowed(mask);
  EXPECT_TRUE(is_allowed(mask, 'b'));
  EXPECT_FALSE(is_allowed(mask, 'd'));
  cursor.follow(std::vector<std::int64_t>{'c'});
  cursor.allowed(mask);
  EXPECT_TRUE(is_allowed(mask, 'd'));
  cursor.follow(std::vector<std::int64_t>{'c', 'd'});
  EXPECT_TRUE(cursor.complete());
  cursor.follow(std::vector<std::int64_t>{'c', 'c'});
  EXPECT_TRUE(cursor.broken());
  cursor.follow({});
  EXPECT_FALSE(cursor.broken());
}

}  // namespace
}  // namespace diffllama
