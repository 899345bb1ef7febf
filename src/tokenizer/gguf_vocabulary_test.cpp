#include "tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(GgufVocabulary, RefusesWhatDoesNotFit) {
  EXPECT_EQ(refusal_after([](auto& v) { v.model = "llama"; }),
            "m.gguf: tokenizer.ggml.model: expected \"gpt2\", byte-level BPE, got \"llama\"");
  EXPECT_THAT(refusal_after([](auto& v) { v.pre = "bogus"; }),
              HasSubstr("tokenizer.ggml.pre: expected one of default, gpt-2, smollm, llama-bpe"));
  EXPECT_THAT(refusal_after([](auto& v) { v.token_type.pop_back(); }),
              HasSubstr("token_type: expected one type for each of the 6 tokens, got 5"));
  EXPECT_THAT(refusal_after([](auto& v) { v.token_type[2] = 7; }),
              HasSubstr("types from 0 to 6, got 7 for token 2"));
  EXPECT_THAT(refusal_after([](auto& v) { v.token_type[2] = -1; }),
              HasSubstr("got -1 for token 2"));
  EXPECT_THAT(refusal_after([](auto& v) { v.tokens[1] = v.tokens[0]; }),
              HasSubstr("each token once"));
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
