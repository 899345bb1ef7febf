#include "tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

struct Merges {
  std::vector<std::string> tokens;
  std::vector<std::pair<std::string, std::string>> pairs;
};

Bpe make_bpe(const Merges& merges, BpeOptions options = {}) {
  Vocabulary vocabulary("test");
  for (std::size_t i = 0; i < merges.tokens.size(); ++i) {
    vocabulary.add(merges.tokens[i], static_cast<std::int64_t>(i));
  }
  vocabulary.finish();
  Bpe bpe(std::move(vocabulary), std::move(options));
  for (const auto& [left, right] : merges.pairs) bpe.add_merge(left, right);
  return bpe;
}

// Merges by random choice among the letters a to d and what was merged before.
Merges random_merges(std::mt19937& random, std::size_t count) {
  Merges merges{{"a", "b", "c", "d"}, {}};
  std::map<std::string, bool> known;
  while (merges.pairs.size() < count) {
    const auto& left = merges.tokens[random() % merges.tokens.size()];
    const auto& right = merges.tokens[random() % merges.tokens.size()];
    const std::string merged = left + right;
    if (merged.size() > 8 || std::exchange(known[merged], true)) continue;
    merges.pairs.emplace_back(left, right);
    merges.tokens.push_back(merged);
  }
  return merges;
}

// The definition: again and again, the leftmost pair of the lowest rank becomes one.
std::vector<std::string> merge_slowly(const Merges& merges, const std::string& piece) {
  std::vector<std::string> parts;
  for (const char c : piece) parts.emplace_back(1, c);
  for (;;) {
    std::size_t best_rank = merges.pairs.size();
    std::size_t best = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (merges.pairs[rank] == std::pair(parts[i], parts[i + 1])) {
          best_rank = rank;
          best = i;
        }
      }
    }
    if (best_rank == merges.pairs.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(Bpe, MergesAsTheDefinitionDoes) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 20; ++round) {
    const Merges merges = random_merges(random, 1 + random() % 40);
    const Bpe bpe = make_bpe(merges);
    Bpe::Encoder encoder(bpe);
    for (int text = 0; text < 20; ++text) {
      std::string piece;
      for (std::size_t n = 1 + random() % 30; n > 0; --n) {
        piece += static_cast<char>('a' + random() % 4);
      }
      std::vector<PieceToken> tokens;
      encoder.encode(piece, tokens);
      std::vector<std::string> parts;
      std::uint32_t end = 0;
      for (const PieceToken& token : tokens) {
        EXPECT_EQ(token.begin, end);
        end = token.end;
        parts.push_back(merges.tokens[token.id]);
        EXPECT_EQ(parts.back(), piece.substr(token.begin, token.end - token.begin));
      }
      EXPECT_EQ(parts, merge_slowly(merges, piece)) << piece;
    }
  }
}

TEST(Bpe, TakesALongRunInOnePiece) {
  const Merges merges{{"a", "aa", "aaaa"}, {{"a", "a"}, {"aa", "aa"}}};
  const Bpe bpe = make_bpe(merges);
  std::vector<PieceToken> tokens;
  Bpe::Encoder(bpe).encode(std::string(1 << 20, 'a'), tokens);
  ASSERT_EQ(tokens.size(), std::size_t{1} << 18);
  for (const PieceToken& token : tokens) ASSERT_EQ(token.id, 2U);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

TEST(Bpe, RefusesMergesOfUnknownTokens) {
  EXPECT_EQ(
      message_of([] {
        make_bpe({{"a", "b"}, {{"a", "x"}}});
      }),
      "test: expected merges of tokens in the vocabulary, got \"x\" in merge 0 (\"a\", \"x\")");
  EXPECT_EQ(
      message_of([] {
        make_bpe({{"a", "b"}, {{"a", "b"}}});
      }),
      "test: expected merges of tokens in the vocabulary, got \"ab\" in merge 0 (\"a\", \"b\")");
}

TEST(Bpe, RefusesAnUnknownCharacterWithoutItsUnkToken) {
  BpeOptions options;
  options.unk_token = "<unk>";
  const Bpe bpe = make_bpe({{"a"}, {}}, options);
  std::vector<PieceToken> tokens;
  EXPECT_EQ(message_of([&] { Bpe::Encoder(bpe).encode("ab", tokens); }),
            "test: expected unk_token \"<unk>\" in the vocabulary, for the character \"b\"");
}

TEST(Vocabulary, RefusesIdsAndTokensThatAreTakenTwice) {
  const auto add = [](std::vector<std::pair<std::string, std::int64_t>> entries) {
    return message_of([&] {
      Vocabulary vocabulary("test");
      for (const auto& [token, id] : entries) vocabulary.add(token, id);
      vocabulary.finish();
    });
  };
  EXPECT_EQ(add({{"a", 1}, {"b", 1}}),
            "test: expected one token for each id, got \"a\" and \"b\" for 1");
  EXPECT_EQ(add({{"a", 1}, {"a", 2}}),
            "test: expected each token once, got \"a\" with the ids 1 and 2");
  EXPECT_EQ(add({{"a", -1}}), "test: expected ids from 0 to 16777215, got -1 for the token \"a\"");
  EXPECT_EQ(add({{"a", 1 << 24}}),
            "test: expected ids from 0 to 16777215, got 16777216 for the token \"a\"");
}

// "\u2581" begins a word; what comes before it does not change its tokens, and the other way round.
TEST(Bpe, WordsAreIndependentWhereNoMergeJoinsThem) {
  const std::string blank = "\u2581";
  Merges merges{{"a", "b", blank, "ab", blank + "a", blank + blank, "a" + blank},
                {{"a", "b"}, {blank, "a"}, {blank, blank}}};
  const Bpe words = make_bpe(merges);
  EXPECT_EQ(words.independent_prefix(blank + "ab" + blank + "a"), 5U);
  EXPECT_EQ(words.independent_prefix(blank + blank + "ab" + blank), 8U);
  EXPECT_EQ(words.independent_prefix("ab" + blank), 2U);
  EXPECT_EQ(words.independent_prefix("ab"), 2U);
  EXPECT_EQ(words.independent_prefix(blank), 3U);
  const std::string text = blank + "ab" + blank + "a";
  BpeOptions whole;
  whole.ignore_merges = true;
  EXPECT_EQ(make_bpe(merges, whole).independent_prefix(text), text.size());
  BpeOptions suffix;
  suffix.end_of_word_suffix = "b";
  EXPECT_EQ(make_bpe(merges, suffix).independent_prefix(text), text.size());
  merges.pairs.emplace_back("a", blank);
  EXPECT_EQ(make_bpe(merges).independent_prefix(text), text.size());
}

}  // namespace
}  // namespace diffllama
