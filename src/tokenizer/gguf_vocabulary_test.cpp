#include "tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

GgufVocabulary small() {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = "gpt-2";
  vocabulary.tokens = {"a", "b", "ab", "<s>", "</s>", "\u0120"};
  vocabulary.token_type = {1, 1, 1, 3, 4, 1};
  vocabulary.merges = {"a b"};
  vocabulary.bos_token_id = 3;
  return vocabulary;
}

std::string refusal_after(const std::function<void(GgufVocabulary&)>& change) {
  GgufVocabulary vocabulary = small();
  change(vocabulary);
  try {
    make_tokenizer(vocabulary, "m.gguf");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

TEST(GgufVocabulary, FindsControlAndUserDefinedTokensInText) {
  const Tokenizer tokenizer = make_tokenizer(small(), "m.gguf");
  const Ids ids = tokenizer.encode("<s>ab</s> a").ids;
  EXPECT_EQ(ids, (Ids{3, 2, 4, 5, 0}));
  EXPECT_EQ(tokenizer.decode(ids), "<s>ab</s> a");
  EXPECT_EQ(tokenizer.decode(ids, true), "ab</s> a") << "user-defined tokens are not special";
  EXPECT_EQ(tokenizer.bos_token_id(), 3);
  EXPECT_FALSE(tokenizer.eos_token_id());
}

TEST(GgufVocabulary, AddsBosAndEosWhereTheFileSaysSo) {
  GgufVocabulary vocabulary = small();
  vocabulary.add_bos_token = true;
  vocabulary.add_eos_token = true;
  EXPECT_EQ(make_tokenizer(vocabulary, "m.gguf").encode("ab").ids, (Ids{3, 2}))
      << "there is no EOS to add";
  vocabulary.eos_token_id = 4;
  const Tokenizer tokenizer = make_tokenizer(vocabulary, "m.gguf");
  EXPECT_EQ(tokenizer.encode("ab").ids, (Ids{3, 2, 4}));
  EXPECT_EQ(tokenizer.encode("ab", false).ids, (Ids{2}));
  EXPECT_EQ(tokenizer.decode(Ids{3, 2, 4}, true), "ab") << "a named token is special";
}

TEST(GgufVocabulary, TakesTokensOfAnyBytes) {
  GgufVocabulary vocabulary = small();
  vocabulary.tokens.emplace_back("\xff\x00\xe2\x82", 4);
  vocabulary.tokens.emplace_back("<\u4e2d>");
  vocabulary.tokens.emplace_back("");
  vocabulary.token_type.insert(vocabulary.token_type.end(), {3, 3, 1});
  const Tokenizer tokenizer = make_tokenizer(vocabulary, "m.gguf");
  EXPECT_EQ(tokenizer.decode(Ids{6}), std::string("\uFFFD\0\uFFFD", 7));
  EXPECT_EQ(tokenizer.encode("<\u4e2d>a").ids, (Ids{7, 0}));
  EXPECT_EQ(tokenizer.decode(Ids{8, 0}), "a");
}

// As in llama.cpp: of equal tokens the last is found, of equal merges the first counts.
TEST(GgufVocabulary, TakesTokensAndMergesThatComeTwice) {
  GgufVocabulary vocabulary = small();
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"a", "ba", "</s>"});
  vocabulary.token_type.insert(vocabulary.token_type.end(), {1, 1, 4});
  const Tokenizer tokenizer = make_tokenizer(vocabulary, "m.gguf");
  EXPECT_EQ(tokenizer.encode("aab</s>").ids, (Ids{6, 2, 8}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 6, 4}), "aa</s>");
  vocabulary.merges = {"b a", "a b", "b a"};
  EXPECT_EQ(make_tokenizer(vocabulary, "m.gguf").encode("aba").ids, (Ids{6, 7}));
}

TEST(GgufVocabulary, AddsBosByTheNameOfTheRuleWhereNoKeySaysSo) {
  GgufVocabulary vocabulary = small();
  const auto adds = [&](const char* pre) {
    vocabulary.pre = pre;
    return make_tokenizer(vocabulary, "m.gguf").encode("ab").ids == Ids{3, 2};
  };
  for (const char* pre :
       {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "tekken"}) {
    vocabulary.add_bos_token.reset();
    EXPECT_TRUE(adds(pre)) << pre;
    vocabulary.add_bos_token = false;
    EXPECT_FALSE(adds(pre)) << pre;
  }
  for (const char* pre : {"", "default", "gpt-2", "qwen2", "dbrx", "smaug-bpe", "smollm"}) {
    vocabulary.add_bos_token.reset();
    EXPECT_FALSE(adds(pre)) << pre;
  }
}

TEST(GgufVocabulary, IgnoresMergesByTheNameOfTheRule) {
  GgufVocabulary vocabulary = small();
  vocabulary.tokens.emplace_back("bab");
  vocabulary.token_type.push_back(1);
  vocabulary.add_bos_token = false;
  for (const auto& [pre, ids] : {std::pair{"llama-bpe", Ids{6}}, std::pair{"tekken", Ids{6}},
                                 std::pair{"dbrx", Ids{1, 2}}, std::pair{"smaug-bpe", Ids{1, 2}},
                                 std::pair{"qwen2", Ids{1, 2}}, std::pair{"gpt-2", Ids{1, 2}}}) {
    vocabulary.pre = pre;
    EXPECT_EQ(make_tokenizer(vocabulary, "m.gguf").encode("bab").ids, ids) << pre;
  }
}

// What merges was not cut apart.
TEST(GgufVocabulary, SplitsByEveryRule) {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.tokens = {"1", "11", "111", "\u0120", "\u0120\u0120", "\u0120a",      "a",  "aB",
                       "B", "!",  "!!",  "!1",     "\u010a",       "\u010a\u010a", "!a", "aa"};
  vocabulary.merges = {"1 1", "11 1", "\u0120 a",      "\u0120 \u0120", "a B",
                       "! !", "! 1",  "\u010a \u010a", "! a",           "a a"};
  const auto pieces = [&](const char* pre, const char* text) {
    vocabulary.pre = pre;
    vocabulary.add_bos_token = false;
    const Tokenizer tokenizer = make_tokenizer(vocabulary, "m.gguf");
    std::string joined;
    for (const std::int64_t id : tokenizer.encode(text).ids) {
      joined += (joined.empty() ? "" : "|") + vocabulary.tokens[static_cast<std::size_t>(id)];
    }
    return joined;
  };
  for (const char* pre : {"gpt-2", "mpt", "phi-2"}) {
    EXPECT_EQ(pieces(pre, "1111 a"), "11|11|\u0120a") << pre;
    EXPECT_EQ(pieces(pre, "!!1"), "!!|1") << pre;
  }
  for (const char* pre : {"starcoder", "refact", "command-r", "smollm"}) {
    EXPECT_EQ(pieces(pre, "11  1aB"), "1|1|\u0120\u0120|1|aB") << pre;
  }
  for (const char* pre : {"llama-bpe", "gpt-4o", "deepseek-v3"}) {
    EXPECT_EQ(pieces(pre, "1111"), "111|1") << pre;
  }
  for (const char* pre : {"qwen2", "qwen35", "tekken"}) EXPECT_EQ(pieces(pre, "11"), "1|1") << pre;
  EXPECT_EQ(pieces("falcon", "1111!!a"), "111|1|!!|a");
  EXPECT_EQ(pieces("deepseek-llm", "11\n\n!1aa"), "11|\u010a|\u010a|!|1|aa");
  EXPECT_EQ(pieces("deepseek-coder", "11\n\n!!aB"), "1|1|\u010a|\u010a|!!|aB");
  // A word ends before a capital.
  EXPECT_EQ(pieces("tekken", "aB"), "a|B");
  EXPECT_EQ(pieces("gpt-4o", "aB aa"), "a|B|\u0120a|a");
  EXPECT_EQ(pieces("llama-bpe", "aB!a"), "aB|!a");
}

// "llama": pairs merge by the score of what they make; text begins with a blank.
GgufVocabulary by_scores() {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  vocabulary.tokens = {"<unk>", "<s>", "</s>",    "<0x0A>", "<0xC3>", "<0xA9>",      "\u2581",
                       "a",     "b",   "\u2581a", "ab",     "ba",     "\u2581\u2581"};
  vocabulary.token_type = {2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1};
  vocabulary.scores = {0, 0, 0, 0, 0, 0, -9, -8, -7, -2, -1, -3, -5};
  return vocabulary;
}

TEST(GgufVocabulary, MergesByScores) {
  GgufVocabulary vocabulary = by_scores();
  const Tokenizer tokenizer = make_tokenizer(vocabulary, "m.gguf");
  EXPECT_EQ(tokenizer.bos_token_id(), 1);
  EXPECT_EQ(tokenizer.eos_token_id(), 2);
  EXPECT_EQ(tokenizer.encode("").ids, (Ids{1}));
  EXPECT_EQ(tokenizer.encode("ab").ids, (Ids{1, 6, 10}));
  EXPECT_EQ(tokenizer.encode("a  ba").ids, (Ids{1, 9, 12, 11}));
  EXPECT_EQ(tokenizer.encode("\n\u00e9").ids, (Ids{1, 6, 3, 4, 5}));
  EXPECT_EQ(tokenizer.encode("<s>a</s>", false).ids, (Ids{1, 9, 2}));
  for (const char* text : {"ab", " a", "a\n\u00e9 b", ""}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false).ids), text);
  }
  vocabulary.add_space_prefix = false;
  vocabulary.add_bos_token = false;
  EXPECT_EQ(make_tokenizer(vocabulary, "m.gguf").encode("a b").ids, (Ids{7, 6, 8}));
}

TEST(GgufVocabulary, OfEqualScoresTheLeftmostPairMergesFirst) {
  GgufVocabulary vocabulary = by_scores();
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"aa", "aaa"});
  vocabulary.token_type.insert(vocabulary.token_type.end(), {1, 1});
  vocabulary.scores.insert(vocabulary.scores.end(), {0, 5});
  vocabulary.add_space_prefix = false;
  EXPECT_EQ(make_tokenizer(vocabulary, "m.gguf").encode("aaaaa", false).ids, (Ids{14, 13}));
}

TEST(GgufVocabulary, RefusesBrokenScores) {
  GgufVocabulary vocabulary = by_scores();
  vocabulary.scores.pop_back();
  const auto refused = [&] {
    try {
      make_tokenizer(vocabulary, "m.gguf");
    } catch (const FormatError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refused(), HasSubstr("scores: expected one score for each of the 13 tokens, got 12"));
  vocabulary.scores.push_back(NAN);
  EXPECT_THAT(refused(), HasSubstr("scores: expected numbers, got nan"));
  vocabulary.scores.clear();
  EXPECT_EQ(refused(), "accepted");
}

TEST(GgufVocabulary, RefusesWhatDoesNotFit) {
  EXPECT_EQ(refusal_after([](auto& v) { v.model = "bert"; }),
            "m.gguf: tokenizer.ggml.model: expected \"gpt2\", byte-level BPE, or \"llama\", "
            "SentencePiece's BPE, got \"bert\"");
  EXPECT_THAT(refusal_after([](auto& v) { v.pre = "bogus"; }),
              HasSubstr("tokenizer.ggml.pre: expected one of default, gpt-2, phi-2, jina-es"));
  EXPECT_THAT(refusal_after([](auto& v) { v.token_type.pop_back(); }),
              HasSubstr("token_type: expected one type for each of the 6 tokens, got 5"));
  EXPECT_THAT(refusal_after([](auto& v) { v.token_type[2] = 7; }),
              HasSubstr("types from 0 to 6, got 7 for token 2"));
  EXPECT_THAT(refusal_after([](auto& v) { v.token_type[2] = -1; }),
              HasSubstr("got -1 for token 2"));
  EXPECT_THAT(refusal_after([](auto& v) { v.merges = {"a x"}; }),
              HasSubstr("got \"x\" in merge 0"));
  EXPECT_THAT(refusal_after([](auto& v) { v.merges = {"ab"}; }), HasSubstr("a space between them"));
  EXPECT_THAT(refusal_after([](auto& v) { v.merges = {"a b a"}; }),
              HasSubstr("a space between them"));
  EXPECT_THAT(refusal_after([](auto& v) { v.bos_token_id = 6; }),
              HasSubstr("bos_token_id: expected an id below 6, the number of tokens, got 6"));
  EXPECT_THAT(refusal_after([](auto& v) { v.eos_token_id = -1; }), HasSubstr("got -1"));
  EXPECT_THAT(refusal_after([](auto& v) { v.padding_token_id = INT64_MAX; }),
              HasSubstr("padding_token_id: expected an id below 6"));
  EXPECT_THAT(refusal_after([](auto& v) { v.unknown_token_id = 99; }),
              HasSubstr("unknown_token_id"));
}

}  // namespace
}  // namespace diffllama
