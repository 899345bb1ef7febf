#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Ids = std::vector<std::int64_t>;

// A byte-level tokenizer of five tokens and two added ones, with a hole at id 5.
std::string tokenizer_json(const std::string& pre_tokenizer) {
  return R"({"added_tokens": [
      {"id": 4, "content": "<s>", "special": true},
      {"id": 6, "content": "<tool>", "special": false}],
    "pre_tokenizer": )" +
         pre_tokenizer + R"(,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "merges": [["a", "b"], ["1", "1"]],
      "vocab": {"a": 0, "b": 1, "ab": 2, "1": 3, "<s>": 4, "<tool>": 6, "11": 7}}})";
}
constexpr const char* kByteLevel = R"({"type": "ByteLevel", "add_prefix_space": false})";

GgufVocabulary written(const std::string& json, std::int64_t size = 0,
                       const WarningHandler& warn = {}) {
  return to_gguf_vocabulary({"tokenizer.json", json, R"({"bos_token": "<s>"})", ""}, size, warn);
}

TEST(GgufVocabularyWrite, ListsTokensMergesAndFlags) {
  const GgufVocabulary vocabulary = written(tokenizer_json(kByteLevel), 9);
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  EXPECT_THAT(vocabulary.tokens,
              ElementsAre("a", "b", "ab", "1", "<s>", "[PAD5]", "<tool>", "11", "[PAD8]"));
  EXPECT_THAT(vocabulary.token_type, ElementsAre(1, 1, 1, 1, 3, 5, 4, 1, 5));
  EXPECT_THAT(vocabulary.merges, ElementsAre("a b", "1 1"));
  EXPECT_EQ(vocabulary.bos_token_id, 4);
  EXPECT_FALSE(vocabulary.eos_token_id);
  EXPECT_EQ(vocabulary.add_bos_token, true);
  EXPECT_FALSE(vocabulary.add_eos_token);
}

TEST(GgufVocabularyWrite, NamesSplittingRules) {
  const auto pre_of = [](const std::string& first, const std::string& last) {
    std::vector<std::string> warnings;
    const auto json =
        tokenizer_json(R"({"type": "Sequence", "pretokenizers": [)" + first + ", " + last + "]}");
    auto pre = written(json, 0, [&](const std::string& text) { warnings.push_back(text); }).pre;
    if (pre == "default") {
      EXPECT_THAT(warnings, ElementsAre(HasSubstr("no name for this")));
    } else {
      EXPECT_THAT(warnings, IsEmpty());
    }
    return pre;
  };
  const std::string bytes =
      R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})";
  EXPECT_EQ(pre_of(R"({"type": "Digits", "individual_digits": true})", kByteLevel), "smollm");
  EXPECT_EQ(pre_of(R"({"type": "Digits", "individual_digits": false})", kByteLevel), "default");
  EXPECT_EQ(pre_of(R"({"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated",
                       "invert": false})",
                   bytes),
            "default");
}

// Text -> vocabulary -> tokenizer.json -> the same ids.
TEST(GgufVocabularyWrite, ComesBackAsATokenizerJson) {
  GgufVocabulary vocabulary = written(tokenizer_json(kByteLevel));
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2"}) {
    vocabulary.pre = pre;
    const std::string json = to_tokenizer_json(vocabulary, "m.gguf");
    const Tokenizer before = make_tokenizer(vocabulary, "m.gguf");
    const Tokenizer after = parse_tokenizer({"tokenizer.json", json, "", ""}, {});
    for (const char* text : {"abba<tool>a", "<s>11111", ""}) {
      EXPECT_EQ(after.encode(text).ids, before.encode(text).ids) << pre << " " << text;
      EXPECT_EQ(after.encode(text, false).ids, before.encode(text, false).ids) << text;
    }
    EXPECT_EQ(after.encode("1111", false).ids, before.encode("1111", false).ids) << pre;
    EXPECT_EQ(after.decode(Ids{4, 2, 6}, true), before.decode(Ids{4, 2, 6}, true));
    vocabulary.pre.clear();
    EXPECT_EQ(to_gguf_vocabulary({"tokenizer.json", json, "", ""}, 0, {}).pre, pre);
  }
}

TEST(GgufVocabularyWrite, EveryRuleComesBackAsATokenizerJson) {
  GgufVocabulary vocabulary = written(tokenizer_json(kByteLevel));
  vocabulary.add_bos_token.reset();
  for (const char* pre : {"starcoder", "falcon", "deepseek-llm", "deepseek-coder", "deepseek-v3",
                          "qwen35", "tekken", "gpt-4o", "dbrx", "llama3"}) {
    vocabulary.pre = pre;
    const Tokenizer before = make_tokenizer(vocabulary, "m.gguf");
    const Tokenizer after =
        parse_tokenizer({"tokenizer.json", to_tokenizer_json(vocabulary, "m.gguf"), "", ""}, {});
    for (const char* text : {"abba<tool>a", "<s>11111", "a1b11", ""}) {
      EXPECT_EQ(after.encode(text).ids, before.encode(text).ids) << pre << " " << text;
    }
  }
}

TEST(GgufVocabularyWrite, AVocabularyWithScoresComesBackAsATokenizerJson) {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = {"<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab"};
  vocabulary.token_type = {2, 3, 3, 6, 1, 1, 1, 1, 1};
  vocabulary.scores = {0, 0, 0, 0, -9, -8, -7, -1, -2};
  const Tokenizer before = make_tokenizer(vocabulary, "m.gguf");
  const Tokenizer after =
      parse_tokenizer({"tokenizer.json", to_tokenizer_json(vocabulary, "m.gguf"), "", ""}, {});
  for (const char* text : {"ab", " a b", "a\nab</s>b", ""}) {
    EXPECT_EQ(after.encode(text).ids, before.encode(text).ids) << text;
    EXPECT_EQ(after.decode(after.encode(text).ids, true),
              before.decode(before.encode(text).ids, true));
  }
  // And as a vocabulary again.
  const std::string json = to_tokenizer_json(vocabulary, "m.gguf");
  const GgufVocabulary again = to_gguf_vocabulary(
      {"tokenizer.json", json, R"({"bos_token": "<s>", "eos_token": "</s>"})", ""}, 0, {});
  EXPECT_EQ(again.model, "llama");
  EXPECT_EQ(again.tokens, vocabulary.tokens);
  EXPECT_THAT(again.token_type, ElementsAre(3, 3, 3, 6, 1, 1, 1, 1, 1));
  EXPECT_EQ(again.add_space_prefix, true);
  EXPECT_EQ(again.add_bos_token, true);
  for (const char* text : {"ab", " a b", "a\nab</s>b", "abab a"}) {
    EXPECT_EQ(make_tokenizer(again, "m.gguf").encode(text).ids, before.encode(text).ids) << text;
  }
  vocabulary.tokens[5] = "\xff";
  EXPECT_THROW(to_tokenizer_json(vocabulary, "m.gguf"), FormatError);
}

// Found by the fuzzer of gguf_convert: of equal tokens the last one is the added token.
TEST(GgufVocabularyWrite, NamesOneOfEqualTokensAsBosAndEos) {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = "smollm";
  vocabulary.tokens = {"a", "b", "c", "b", "c", "b"};
  vocabulary.add_bos_token = true;
  vocabulary.add_eos_token = true;
  for (const auto& [bos, eos] : {std::pair{1, 2}, {1, 4}, {5, 1}, {3, 1}, {1, 1}}) {
    vocabulary.bos_token_id = bos;
    vocabulary.eos_token_id = eos;
    const Tokenizer before = make_tokenizer(vocabulary, "m.gguf");
    const std::string json = to_tokenizer_json(vocabulary, "m.gguf");
    const Tokenizer after = parse_tokenizer({"tokenizer.json", json, "", ""}, {});
    EXPECT_THAT(before.encode("a").ids, ElementsAre(bos, 0, eos));
    EXPECT_EQ(after.encode("a").ids, before.encode("a").ids) << json;
  }
}

TEST(GgufVocabularyWrite, HasNoKeysForOtherKinds) {
  for (const char* pre_tokenizer :
       {"null", R"({"type": "WhitespaceSplit"})", R"({"type": "Sequence", "pretokenizers": []})"}) {
    const GgufVocabulary vocabulary = written(tokenizer_json(pre_tokenizer));
    EXPECT_EQ(vocabulary.model, kNoVocabulary);
    EXPECT_EQ(vocabulary.bos_token_id, 4);
  }
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A tokenizer.model as llama.cpp knows it: SentencePiece's BPE by its scores, tiktoken's as bytes.
TEST(GgufVocabularyWrite, AModelFileGivesTheSameIds) {
  const std::filesystem::path goldens =
      std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/tokenizer_model";
  for (const std::string name : {"bpe_legacy", "bpe_defaults", "tiktoken", "unigram_no_prefix"}) {
    SCOPED_TRACE(name);
    const std::string model = read(goldens / name / "tokenizer.model");
    const std::string config = read(goldens / name / "tokenizer_config.json");
    const TokenizerFiles files{"tokenizer.model", "", config, "", "", "", model};
    const GgufVocabulary vocabulary = to_gguf_vocabulary(files, 0, {});
    if (name == "unigram_no_prefix") {
      EXPECT_EQ(vocabulary.model, kNoVocabulary);
      EXPECT_GT(vocabulary.tokens.size(), 600U);
      continue;
    }
    EXPECT_EQ(vocabulary.model, name == "tiktoken" ? "gpt2" : "llama");
    EXPECT_EQ(vocabulary.pre, name == "tiktoken" ? "llama-bpe" : "default");
    const Tokenizer tokenizer = make_tokenizer(vocabulary, "m.gguf");
    int compared = 0;
    for (const auto& each : nlohmann::json::parse(read(goldens / name / "cases.json"))) {
      EXPECT_EQ(nlohmann::json(tokenizer.encode(each["text"].get<std::string>()).ids), each["ids"])
          << each.dump();
      ++compared;
    }
    EXPECT_GT(compared, 20);
  }
}

}  // namespace
}  // namespace diffllama
