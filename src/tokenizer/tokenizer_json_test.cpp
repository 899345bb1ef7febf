// Broken and hostile tokenizer.json files get a FormatError that names the place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

json small() {
  return json::parse(R"({"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": ["a b"]}})");
}

Tokenizer parse(const std::string& text, const std::string& config = "",
                const std::string& map = "", const WarningHandler& warn = {}) {
  return parse_tokenizer({"dir/tokenizer.json", text, config, map}, warn);
}

std::string refusal_of(const std::string& text, const std::string& config = "") {
  try {
    parse(text, config);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

std::string refusal_with(const char* pointer, const json& value) {
  json document = small();
  document[json::json_pointer(pointer)] = value;
  return refusal_of(document.dump());
}

TEST(TokenizerJson, NamesUnsupportedComponents) {
  EXPECT_EQ(refusal_with("/normalizer", {{"type", "Bogus"}}),
            "dir/tokenizer.json: normalizer.type: expected one of the normalizers NFC, NFD, NFKC, "
            "NFKD, Nmt, Lowercase, StripAccents, Strip, Prepend, Append, Replace, Precompiled, "
            "BertNormalizer, ByteLevel, Sequence, got \"Bogus\"");
  EXPECT_THAT(refusal_with("/pre_tokenizer", {{"type", "Bogus"}}),
              HasSubstr("pre_tokenizer.type: expected one of the pre-tokenizers"));
  EXPECT_THAT(refusal_with("/decoder", {{"type", "CTC"}}),
              HasSubstr("decoder.type: expected one of the decoders"));
  EXPECT_THAT(refusal_with("/post_processor", {{"type", "Bogus"}}),
              HasSubstr("post_processor.type: expected one of the post-processors"));
  EXPECT_EQ(refusal_with("/model/type", "Bogus"),
            "dir/tokenizer.json: model.type: expected one of the models BPE, Unigram, WordPiece, "
            "WordLevel, got \"Bogus\"");
  EXPECT_THAT(refusal_with("/model/dropout", 0.1), HasSubstr("model.dropout: expected no dropout"));
  EXPECT_THAT(refusal_with("/version", "2.0"), HasSubstr("version: expected \"1.0\""));
  EXPECT_THAT(
      refusal_with("/pre_tokenizer", json::parse(R"({"type": "Sequence", "pretokenizers":
        [{"type": "Digits", "individual_digits": true}, {"type": "Bogus"}]})")),
      StartsWith("dir/tokenizer.json: pre_tokenizer.pretokenizers[1].type: expected one of"));
}

TEST(TokenizerJson, NamesFieldsOfAWrongType) {
  EXPECT_EQ(refusal_with("/pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", 1}}),
            "dir/tokenizer.json: pre_tokenizer.add_prefix_space: expected true or false, got 1");
  EXPECT_THAT(refusal_with("/pre_tokenizer", "ByteLevel"), HasSubstr("an object with a type"));
  EXPECT_THAT(refusal_with("/model", 3), HasSubstr("model: expected an object, got 3"));
  EXPECT_THAT(refusal_with("/model/byte_fallback", "yes"), HasSubstr("true or false"));
  EXPECT_THAT(refusal_with("/added_tokens", {{"a", 1}}),
              HasSubstr("added_tokens: expected an array"));
  EXPECT_THAT(refusal_with("/added_tokens", json::parse(R"([{"id": -1, "content": "x"}])")),
              HasSubstr("added_tokens[0].id: expected an integer from 0 to 16777215, got -1"));
  EXPECT_THAT(refusal_with("/added_tokens", json::parse(R"([{"id": 4, "content": ""}])")),
              HasSubstr("expected an added token of 1 to 1024 bytes, got 0"));
  EXPECT_THAT(refusal_with("/decoder", json::parse(R"({"type": "Strip", "content": "ab",
                "start": 1, "stop": 0})")),
              HasSubstr("decoder.content: expected a string of one character"));
  EXPECT_THAT(refusal_of("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal_of("{}"), HasSubstr("model: expected an object"));
}

// A few rules of a file could otherwise fill any memory from one byte.
TEST(TokenizerJson, BoundsWhatItsRulesMakeOfAText) {
  const auto nested = [](const char* list, const json& rule, int times) {
    json rules = {{"type", "Sequence"}, {list, json::array()}};
    for (int i = 0; i < times; ++i) rules[list].push_back(rule);
    return rules;
  };
  const auto encode = [](const char* part, const json& rules, const std::string& text) {
    json document = small();
    document[part] = rules;
    return parse(document.dump()).encode(text).ids.size();
  };
  const auto too_long = testing::ThrowsMessage<InvalidArgument>(
      HasSubstr("expected a text that the tokenizer's rules make at most 32 times longer"));
  const json replace = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(300, 'a')}};
  EXPECT_EQ(encode("normalizer", nested("normalizers", replace, 1), "a"), 300U);
  EXPECT_THAT([&] { encode("normalizer", nested("normalizers", replace, 2), "a"); }, too_long);
  EXPECT_THAT(
      [&] { encode("normalizer", nested("normalizers", replace, 1), std::string(500, 'a')); },
      too_long);

  const json prepend = {{"type", "Prepend"}, {"prepend", std::string(1000, 'b')}};
  EXPECT_EQ(encode("normalizer", nested("normalizers", prepend, 60), "a"), 60001U);
  EXPECT_THAT([&] { encode("normalizer", nested("normalizers", prepend, 70), "a"); }, too_long);

  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  EXPECT_THAT([&] { encode("pre_tokenizer", nested("pretokenizers", bytes, 20), "\xc3\xa9"); },
              too_long);

  json document = small();
  document["decoder"] = nested("decoders", replace, 2);
  const Tokenizer decoding = parse(document.dump());
  EXPECT_THAT([&] { decoding.decode(std::vector<std::int64_t>{0}); }, too_long);

  document = small();
  document["normalizer"] = nested("normalizers", replace, 2);
  document["added_tokens"] = json::parse(R"([{"id": 4, "content": "aa", "normalized": true}])");
  EXPECT_THAT(refusal_of(document.dump()), HasSubstr("added_tokens: \"aa\": expected a text that"));
}

TEST(TokenizerJson, RefusesBrokenVocabularies) {
  EXPECT_EQ(refusal_with("/model/vocab", json::array()),
            "dir/tokenizer.json: model.vocab: expected an object of ids by token, got an array");
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", "0"}}), HasSubstr("model.vocab: expected"));
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", -1}}), HasSubstr("got -1"));
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", 1.5}}), HasSubstr("got 1.5"));
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", 1e30}}), HasSubstr("got 1e+30"));
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", {{"b", 1}}}}), HasSubstr("an object inside it"));
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", 0}, {"b", 0}}),
              HasSubstr("one token for each id"));
  EXPECT_THAT(refusal_with("/model/vocab", {{"a", 4294967296}}),
              HasSubstr("ids from 0 to 16777215"));
  EXPECT_THAT(refusal_of(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})"),
              HasSubstr("each token once, got \"a\" with the ids 0 and 1"));
  EXPECT_THAT(refusal_of(R"({"model": {"vocab": {"a": 0}, "vocab": {}, "merges": []}})"),
              HasSubstr("the key \"vocab\" twice"));
  EXPECT_THAT(refusal_of(R"({"model": {"vocab": {"a": 0}}})"), HasSubstr("a vocab and merges"));
}

TEST(TokenizerJson, RefusesBrokenMerges) {
  EXPECT_EQ(refusal_with("/model/merges", {"a x"}),
            "dir/tokenizer.json: model.vocab: expected merges of tokens in the vocabulary, got "
            "\"x\" in merge 0 (\"a\", \"x\")");
  for (const char* merges :
       {R"(["ab"])", R"(["a b a"])", R"([["a"]])", R"([["a", "b", "a"]])", R"([[["a", "b"]]])",
        R"([[1, 2]])", R"([{}])", R"("a b")", "5", "null"}) {
    EXPECT_THAT(refusal_with("/model/merges", json::parse(merges)),
                HasSubstr("model.merges: expected"))
        << merges;
  }
}

TEST(TokenizerJson, RefusesBrokenTemplates) {
  const auto with = [](const char* single) {
    return refusal_with("/post_processor", {{"type", "TemplateProcessing"},
                                            {"single", json::parse(single)},
                                            {"special_tokens", {{"<s>", {{"ids", {99}}}}}}});
  };
  EXPECT_THAT(with(R"([{"SpecialToken": {"id": "<x>"}}])"),
              HasSubstr("a name among special_tokens"));
  EXPECT_THAT(with(R"([{"SpecialToken": {"id": "<s>"}}])"),
              HasSubstr("special_tokens.<s>.ids[0]: expected an integer from 0 to 3, got 99"));
  EXPECT_THAT(with(R"([{"Sequence": {"id": "B"}}])"), HasSubstr("expected A"));
  EXPECT_THAT(with(R"([{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}])"),
              HasSubstr("the Sequence A once"));
  EXPECT_THAT(with("[]"), HasSubstr("the Sequence A once"));
}

TEST(TokenizerJson, RefusesBrokenUnigrams) {
  const auto with = [](const char* vocab, int unk_id = 0) {
    json document = small();
    document["model"] = {{"type", "Unigram"}, {"unk_id", unk_id}, {"vocab", json::parse(vocab)}};
    return refusal_of(document.dump());
  };
  EXPECT_THAT(with(R"({"a": 0})"), HasSubstr("model.vocab: expected an array of [token, score]"));
  for (const char* vocab : {R"([["a"]])", R"([["a", "b"]])", R"([[1, "a"]])", R"([["a", 1, 2]])",
                            R"([[["a", 1]]])", R"(["a"])", R"([["a", null]])"}) {
    EXPECT_THAT(with(vocab), HasSubstr("model.vocab: expected")) << vocab;
  }
  EXPECT_THAT(with(R"([["a", 0.5], ["a", 1]])"), HasSubstr("each token once"));
  EXPECT_THAT(with(R"([["a", 0.5]])", 1), HasSubstr("expected an unk_id below 1"));
  EXPECT_THAT(with("[]"), HasSubstr("expected an unk_id below 0"));
}

TEST(TokenizerJson, RefusesBrokenCharsMaps) {
  const auto with = [](const json& map) {
    return refusal_with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", map}});
  };
  EXPECT_THAT(with("****"), HasSubstr("precompiled_charsmap: expected base64"));
  EXPECT_THAT(with(7), HasSubstr("expected a string"));
  EXPECT_THAT(with("AAA="), HasSubstr("expected the size of a table"));
  EXPECT_THAT(with("/////w=="), HasSubstr("expected the size of a table"));
  EXPECT_THAT(with("BAAAAAAAAAA="), HasSubstr("expected texts in UTF-8"));
}

TEST(TokenizerJson, RefusesBrokenSettings) {
  EXPECT_THAT(refusal_with("/truncation", {{"max_length", -1}, {"strategy", "OnlyFirst"}}),
              HasSubstr("truncation.max_length: expected an integer"));
  EXPECT_THAT(refusal_with("/truncation", {{"max_length", 5}, {"strategy", "Bogus"}}),
              HasSubstr("LongestFirst, OnlyFirst or OnlySecond"));
  EXPECT_THAT(refusal_with("/padding", {{"strategy", {{"Fixed", 1U << 30}}}}),
              HasSubstr("padding.strategy.Fixed: expected an integer from 0 to 16777215"));
  EXPECT_THAT(refusal_with("/padding", {{"strategy", "Bogus"}}), HasSubstr("BatchLongest"));
}

TEST(TokenizerJson, RefusesTextThatIsNotJson) {
  const std::string text = small().dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_THAT(refusal_of(text.substr(0, length)), StartsWith("dir/tokenizer.json: ")) << length;
  }
  const std::string deep = std::string(10000, '[') + std::string(10000, ']');
  EXPECT_THAT(refusal_of(deep), HasSubstr("levels of nesting"));
  EXPECT_THAT(refusal_of(R"({"normalizer": )" + deep + "}"), HasSubstr("levels of nesting"));
  EXPECT_THAT(refusal_of(R"({"model": {"vocab": )" + deep + R"(, "merges": []}})"),
              HasSubstr("model.vocab: expected an array of [token, score], got"));
  EXPECT_THAT(refusal_of(R"({"model": {"vocab": {}, "merges": )" + deep + "}}"),
              HasSubstr("an array inside a merge"));
  std::string sequence;
  for (int i = 0; i < 5000; ++i) sequence += R"({"type":"Sequence","normalizers":[)";
  sequence += "null";
  for (int i = 0; i < 5000; ++i) sequence += "]}";
  EXPECT_THAT(refusal_of(R"({"normalizer": )" + sequence + "}"), HasSubstr("levels of nesting"));
}

TEST(TokenizerJson, ReadsMergesInBothFormsAndModelsWithoutAType) {
  json document = small();
  document["model"].erase("type");
  EXPECT_EQ(parse(document.dump()).encode("abab").ids, (std::vector<std::int64_t>{2, 2}));
  document["model"]["merges"] = json::parse(R"([["a", "b"]])");
  EXPECT_EQ(parse(document.dump()).encode("abab").ids, (std::vector<std::int64_t>{2, 2}));
  document["model"]["merges"] = {"#version: 0.2", "a b"};
  EXPECT_EQ(parse(document.dump()).encode("abab").ids, (std::vector<std::int64_t>{2, 2}));
}

TEST(TokenizerJson, TakesSpecialTokensFromTheFilesBesideIt) {
  const Tokenizer plain = parse(small().dump());
  EXPECT_FALSE(plain.bos_token_id());
  EXPECT_EQ(plain.vocab_size(), 4);

  const Tokenizer named = parse(small().dump(), R"({"bos_token": "<s>", "add_bos_token": true,
    "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": true}, "pad_token": null})");
  EXPECT_EQ(named.bos_token_id(), 3);
  EXPECT_EQ(named.eos_token_id(), 4) << "new tokens follow the vocabulary";
  EXPECT_EQ(named.vocab_size(), 5);
  EXPECT_EQ(named.encode("<s>ab </s>").ids, (std::vector<std::int64_t>{3, 2, 4}));
  EXPECT_EQ(named.decode(std::vector<std::int64_t>{3, 2, 4}, true), "ab");
  EXPECT_EQ(named.id_to_token(4), "</s>");
  EXPECT_EQ(named.token_to_id("</s>"), 4);

  const Tokenizer mapped = parse(small().dump(), "", R"({"eos_token": "<s>"})");
  EXPECT_EQ(mapped.eos_token_id(), 3);
  EXPECT_THAT(refusal_of(small().dump(), R"({"bos_token": 7})"),
              StartsWith("dir/tokenizer_config.json: bos_token: expected a string, got 7"));
}

// The tokenizers library takes any of them, by the order of its hash map, but special ones first.
TEST(TokenizerJson, TakesTheFirstOfAddedTokensWhoseNormalizedFormsAreEqual) {
  json document = small();
  document["normalizer"] = {{"type", "Lowercase"}};
  document["added_tokens"] = json::parse(R"([
    {"id": 4, "content": "Ab", "normalized": true}, {"id": 5, "content": "AB", "normalized": true}])");
  EXPECT_EQ(parse(document.dump()).encode("aAB").ids, (std::vector<std::int64_t>{0, 4}));
  document["added_tokens"][1]["special"] = true;
  EXPECT_EQ(parse(document.dump()).encode("aAB").ids, (std::vector<std::int64_t>{0, 5}));
}

// As there: an empty form stands between all characters, and is no token.
TEST(TokenizerJson, CutsAtAnAddedTokenWhoseNormalizedFormIsEmpty) {
  json document = small();
  EXPECT_EQ(parse(document.dump()).encode("aab").ids, (std::vector<std::int64_t>{0, 2}));
  document["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  document["added_tokens"] = json::parse(R"([{"id": 4, "content": "  ", "normalized": true}])");
  const Tokenizer tokenizer = parse(document.dump());
  EXPECT_EQ(tokenizer.encode("aab").ids, (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(tokenizer.encode("").ids, std::vector<std::int64_t>());
  EXPECT_EQ(tokenizer.decode(std::vector<std::int64_t>{4, 0}), " a");
  document["added_tokens"].push_back({{"id", 5}, {"content", "ab"}, {"normalized", true}});
  EXPECT_EQ(parse(document.dump()).encode("aabb").ids, (std::vector<std::int64_t>{0, 2, 1}));
  document["added_tokens"][0]["single_word"] = true;
  EXPECT_EQ(parse(document.dump()).encode("aab").ids, (std::vector<std::int64_t>{0, 2}));
}

TEST(TokenizerJson, ABlankThatTakesBlanksOnBothSidesIsOneToken) {
  json document = small();
  document["added_tokens"] = json::parse(
      R"([{"id": 4, "content": " ", "lstrip": true, "rstrip": true, "normalized": false}])");
  EXPECT_EQ(parse(document.dump()).encode("a   b").ids, (std::vector<std::int64_t>{0, 4, 1}));
}

TEST(TokenizerJson, WarnsOfAnAddedTokenWithAnotherId) {
  json document = small();
  document["added_tokens"] = json::parse(R"([{"id": 9, "content": "new", "special": true}])");
  std::vector<std::string> warnings;
  const Tokenizer tokenizer =
      parse(document.dump(), "", "", [&](const std::string& text) { warnings.push_back(text); });
  EXPECT_EQ(tokenizer.token_to_id("new"), 4);
  EXPECT_THAT(warnings, testing::ElementsAre("dir/tokenizer.json: added_tokens[0]: the token "
                                             "\"new\" has the id 4, not 9"));
}

// "<s>" is special, "<|x|>" only looks so, "qq" is neither; the model itself knows "<s>" too.
Tokenizer with_control_tokens(bool ignore_merges) {
  json document = small();
  json& model = document["model"];
  model["ignore_merges"] = ignore_merges;
  model["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}, {"<s>", 3}, {"<", 4},
                    {"s", 5}, {">", 6}, {"|", 7},  {"x", 8}};
  document["added_tokens"] = json::parse(R"([
    {"id": 3, "content": "<s>", "special": true}, {"id": 9, "content": "<|x|>"},
    {"id": 10, "content": "qq"}])");
  return parse(document.dump());
}

TEST(Tokenizer, MakesNoControlTokenOfTextThatIsNotTrusted) {
  for (const bool ignore_merges : {false, true}) {
    const Tokenizer tokenizer = with_control_tokens(ignore_merges);
    const auto ids = [&](const std::vector<TextPart>& parts) {
      return tokenizer.encode(parts).ids;
    };
    using Ids = std::vector<std::int64_t>;
    EXPECT_EQ(ids({{"<s>ab<|x|>qq", true}}), (Ids{3, 2, 9, 10}));
    EXPECT_EQ(ids({{"<s>ab<|x|>qq", false}}), (Ids{4, 5, 6, 2, 4, 7, 8, 7, 6, 10}));
    EXPECT_EQ(ids({{"<s>", true}, {"<s>", false}, {"<s>", true}}), (Ids{3, 4, 5, 6, 3}));
    EXPECT_EQ(ids({{"<", true}, {"s>", false}}), (Ids{4, 5, 6})) << "half of it is not trusted";
    EXPECT_EQ(ids({{"<", true}, {"s>", true}}), (Ids{3})) << "parts are one text";
    EXPECT_EQ(ids({{"a", true}, {"b", false}}), (Ids{2})) << "parts are one text";
  }
}

TEST(Tokenizer, CountsOffsetsOverAllPartsOfAText) {
  const Tokenizer tokenizer = with_control_tokens(false);
  const std::vector<TextPart> parts = {{"a\xc3", true}, {"\xa9qq", false}};
  const Encoding encoding = tokenizer.encode(parts);
  EXPECT_EQ(encoding.ids, (std::vector<std::int64_t>{0, 10})) << "the bytes do not join";
  EXPECT_EQ(encoding.offsets[1].begin, 3U);
  EXPECT_EQ(encoding.offsets[1].end, 5U);
}

TEST(TokenizerJson, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = parse(small().dump());
  for (const std::int64_t id : {std::int64_t{-1}, std::int64_t{4}, INT64_MAX, INT64_MIN}) {
    EXPECT_THROW(tokenizer.decode(std::vector<std::int64_t>{id}), InvalidArgument) << id;
    EXPECT_EQ(tokenizer.id_to_token(id), "");
  }
}

TEST(Tokenizer, LoadsTheModelThatShipsHere) {
  const auto directory = std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "models/diffllama-tiny";
  const Tokenizer tokenizer = load_tokenizer(directory, {});
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_EQ(tokenizer.bos_token_id(), 1);
  EXPECT_EQ(tokenizer.eos_token_id(), 2);
  const Encoding encoding = tokenizer.encode("The cat sat.");
  EXPECT_EQ(encoding.ids.front(), 1);
  EXPECT_EQ(tokenizer.decode(encoding.ids), "<s>The cat sat.");
  EXPECT_EQ(tokenizer.decode(encoding.ids, true), "The cat sat.");
}

TEST(Tokenizer, SaysWhichFileIsMissing) {
  EXPECT_THAT([] { load_tokenizer("/nowhere", {}); },
              testing::ThrowsMessage<IoError>(HasSubstr(
                  "expected a tokenizer.json or tokenizer.model, found no file /nowhere")));
}

// Each byte at most a constant number of steps: these would take hours if it were squared.
TEST(Tokenizer, TakesLongTextsOfOneKind) {
  const auto directory = std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "models/diffllama-tiny";
  const Tokenizer tokenizer = load_tokenizer(directory, {});
  for (const char* unit :
       {"a", " ", "\n", "1", "!", "\u00e9", "\xff", "a ", " \n", "'s", "<s>", "<s"}) {
    std::string text;
    while (text.size() < (1U << 20)) text += unit;
    const Encoding encoding = tokenizer.encode(text);
    EXPECT_EQ(encoding.offsets.back().end, text.size());
  }
}

}  // namespace
}  // namespace diffllama
