#include "generation/generated_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace diffllama {
namespace {

using Ids = std::vector<std::int64_t>;

const Tokenizer& tokenizer() {
  static const Tokenizer loaded =
      Tokenizer::from_pretrained(DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny");
  return loaded;
}

Ids encode(const std::string& text) { return tokenizer().encode(text, false).ids; }

// Whole characters: no first byte without the rest, no rest without a first byte.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t size = byte < 0x80   ? 1
                             : byte < 0xC2 ? 0
                             : byte < 0xE0 ? 2
                             : byte < 0xF0 ? 3
                                           : 4;
    if (size == 0 || i + size > text.size()) return false;
    for (std::size_t j = 1; j < size; ++j) {
      if ((static_cast<unsigned char>(text[i + j]) & 0xC0) != 0x80) return false;
    }
    i += size;
  }
  return true;
}

struct Outcome {
  std::string streamed = {}, text = {};
  std::size_t tokens = 0;
  bool stopped = false;
};

Outcome run(const Ids& ids, const std::vector<std::string>& stops, const Ids& prompt = {}) {
  GeneratedText text(tokenizer(), stops, prompt);
  Outcome outcome;
  for (const std::int64_t id : ids) {
    const std::string_view piece = text.push(id);
    EXPECT_TRUE(is_utf8(piece)) << piece;
    outcome.streamed += piece;
    ++outcome.tokens;
    if (text.stopped()) break;
  }
  outcome.streamed += text.finish();
  outcome.text = text.text();
  outcome.stopped = text.stopped();
  EXPECT_EQ(outcome.streamed, outcome.text);
  return outcome;
}

const char* const kTexts[] = {
    "To be, or not to be, that is the question.\n\nKING HENRY:\nMy lord",
    "caf\u00e9 na\u00efve \U0001F642\U0001F468\u200D\U0001F469\u200D\U0001F467 \u6771\u4eac \u20ac",
    "aaaaabaaaab aab\n\n\n\nab",
};

TEST(GeneratedText, IsWhatDecodeGives) {
  for (const char* text : kTexts) {
    const Ids ids = encode(text);
    EXPECT_EQ(run(ids, {}).text, text);
    EXPECT_EQ(run(ids, {"never there"}).text, text);
  }
}

TEST(GeneratedText, NeverSplitsACharacter) {
  const Ids ids = encode("\U0001F642");
  ASSERT_GT(ids.size(), 1U) << "the emoji should take several tokens";
  GeneratedText text(tokenizer(), {}, {});
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(text.push(ids[i]), "");
  EXPECT_EQ(text.push(ids.back()), "\U0001F642");
}

TEST(GeneratedText, EndsAnIncompleteCharacterWithAReplacement) {
  Ids ids = encode("x\U0001F642");
  ids.pop_back();
  const Outcome outcome = run(ids, {"stop"});
  EXPECT_EQ(outcome.text, tokenizer().decode(ids));
  EXPECT_TRUE(outcome.text.ends_with("\uFFFD"));
}

// Against the definition: the first token after which the decoded text holds a stop string ends it,
// and the text ends before the first one there.
TEST(GeneratedText, FindsStopStringsAcrossTokens) {
  std::mt19937 rng(31);
  int found = 0;
  for (int round = 0; round < 300; ++round) {
    const std::string text = kTexts[rng() % std::size(kTexts)];
    std::vector<std::string> stops;
    while (stops.size() < 1 + rng() % 3) {
      const std::string stop = text.substr(rng() % text.size(), 1 + rng() % 6);
      if (is_utf8(stop)) stops.push_back(stop);
    }
    const Ids ids = encode(text);
    Outcome expected{.text = text, .tokens = ids.size()};
    for (std::size_t n = 1; n <= ids.size() && !expected.stopped; ++n) {
      const std::string sofar = tokenizer().decode(std::span(ids).first(n));
      std::size_t first = std::string::npos;
      for (const std::string& stop : stops) first = std::min(first, sofar.find(stop));
      if (first == std::string::npos) continue;
      expected = {.text = sofar.substr(0, first), .tokens = n, .stopped = true};
    }
    const Outcome outcome = run(ids, stops);
    EXPECT_EQ(outcome.text, expected.text) << "seed 31, round " << round;
    EXPECT_EQ(outcome.tokens, expected.tokens) << "seed 31, round " << round;
    EXPECT_EQ(outcome.stopped, expected.stopped) << "seed 31, round " << round;
    found += static_cast<int>(outcome.stopped);
  }
  EXPECT_GT(found, 250);
}

TEST(GeneratedText, HoldsBackWhatMayBecomeAStopString) {
  GeneratedText text(tokenizer(), std::vector<std::string>{"\n\nKING"}, {});
  std::string streamed;
  for (const std::int64_t id : encode("lord\n\n")) streamed += text.push(id);
  EXPECT_EQ(streamed, "lord");
  for (const std::int64_t id : encode("Q")) streamed += text.push(id);
  EXPECT_EQ(streamed, "lord\n\nQ");
}

TEST(GeneratedText, GivesWhatWasHeldBackAtTheEnd) {
  EXPECT_EQ(run(encode("lord\n\n"), {"\n\nKING"}).text, "lord\n\n");
}

TEST(GeneratedText, AStopStringMayBeginInThePrompt) {
  const Outcome outcome = run(encode("\nB"), {"\n\n"}, encode("A\n"));
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.text, "");
  // One that the prompt holds whole does not count.
  EXPECT_FALSE(run(encode("B"), {"\n\n"}, encode("A\n\n")).stopped);
}

TEST(GeneratedText, SpecialTokensHaveNoTextButStop) {
  const std::int64_t eos = *tokenizer().token_to_id("</s>");
  Ids ids = encode("one");
  const Ids more = encode(" two");
  ids.push_back(eos);
  ids.insert(ids.end(), more.begin(), more.end());
  EXPECT_EQ(run(ids, {}).text, "one two");
  EXPECT_EQ(run(ids, {"two"}).text, "one ");
  const Outcome outcome = run(ids, {"</s>"});
  EXPECT_TRUE(outcome.stopped);
  EXPECT_EQ(outcome.text, "one");
}

TEST(GeneratedText, IdsPastTheTokenizerHaveNoText) {
  const std::int64_t beyond = tokenizer().vocab_size() + 3;
  Ids ids = encode("one");
  ids.push_back(beyond);
  EXPECT_EQ(run(ids, {"x"}, {beyond}).text, "one");
}

}  // namespace
}  // namespace diffllama
