// Trained tokenizers: deterministic, whole, and as their options say. That the tokenizers library
// reads them with the same ids is shown by tools/compare_tokenizers.py --trained.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "diffllama/tokenizer.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

std::vector<std::string> texts() {
  std::vector<std::string> all;
  std::ifstream file(std::string(DIFFLLAMA_SOURCE_DIR) + "/tests/data/documents.jsonl");
  for (std::string line; std::getline(file, line);) all.push_back(json::parse(line).at("text"));
  all.emplace_back("caf\xc3\xa9 \xff\xe6\x97\xa5");
  return all;
}

std::string train(const TokenizerTraining& training, const std::vector<std::string>& from) {
  std::size_t next = 0;
  return train_tokenizer(training, [&]() -> std::optional<std::string> {
    if (next == from.size()) return std::nullopt;
    return from[next++];
  });
}

Tokenizer load(const std::string& text) { return parse_tokenizer({"trained", text, {}, {}}, {}); }

TokenizerTraining small(TokenizerKind kind) {
  TokenizerTraining training;
  training.kind = kind;
  training.vocab_size = 600;
  training.special_tokens = {"<|x|>"};
  training.bos_token = "<s>";
  training.eos_token = "</s>";
  return training;
}

class TrainTokenizer : public testing::TestWithParam<TokenizerKind> {};

TEST_P(TrainTokenizer, GivesTheSameBytesInAnyOrderOfTheTexts) {
  std::vector<std::string> from = texts();
  const std::string first = train(small(GetParam()), from);
  EXPECT_EQ(train(small(GetParam()), from), first);
  std::reverse(from.begin(), from.end());
  EXPECT_EQ(train(small(GetParam()), from), first);
}

TEST_P(TrainTokenizer, SpellsEveryTextAndNamesItsSpecialTokens) {
  const Tokenizer tokenizer = load(train(small(GetParam()), texts()));
  EXPECT_LE(tokenizer.vocab_size(), 600);
  EXPECT_GT(tokenizer.vocab_size(), 400) << "the texts have enough pairs";
  const Ids ids = tokenizer.encode("a").ids;
  EXPECT_EQ(ids.front(), tokenizer.token_to_id("<s>"));
  EXPECT_EQ(ids.back(), tokenizer.token_to_id("</s>"));
  EXPECT_TRUE(tokenizer.token_to_id("<|x|>"));
  for (const std::string text : {"To be, or not to be", "\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x91\x8d",
                                 "a  b\n\tc", "<0x41>", "x\xcc\x81\x01"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text).ids, true), text);
  }
  EXPECT_LT(tokenizer.encode(texts()[0], false).ids.size(), texts()[0].size() * 3 / 4)
      << "most tokens are longer than a byte";
}

TEST_P(TrainTokenizer, RefusesWhatCannotBe) {
  TokenizerTraining training = small(GetParam());
  training.vocab_size = 200;
  EXPECT_THAT([&] { train(training, texts()); },
              testing::ThrowsMessage<InvalidArgument>(HasSubstr("expected a vocab_size from")));
  training = small(GetParam());
  EXPECT_THAT(
      [&] {
        train(training, {"", ""});
      },
      testing::ThrowsMessage<InvalidArgument>(HasSubstr("expected texts")));
  training.special_tokens = {""};
  EXPECT_THROW(train(training, texts()), InvalidArgument);
  training.special_tokens = {"A", "B", "A"};
  EXPECT_THAT([&] { train(training, texts()); },
              testing::ThrowsMessage<InvalidArgument>(
                  HasSubstr("expected each special token once, got \"A\" twice")));
}

INSTANTIATE_TEST_SUITE_P(Kinds, TrainTokenizer,
                         testing::Values(TokenizerKind::byte_level_bpe,
                                         TokenizerKind::metaspace_bpe, TokenizerKind::unigram));

TEST(TrainBpe, MergesTheMostFrequentPairFirst) {
  TokenizerTraining training;
  training.vocab_size = 258;
  const json trained = json::parse(train(training, {"abab abab abab", "xyz"}));
  EXPECT_EQ(trained["model"]["merges"], json::parse(R"([["a", "b"], ["ab", "ab"]])"));
}

}  // namespace
}  // namespace diffllama
