#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

constexpr const char* kTokenizer = R"({"version": "1.0", "added_tokens": [
    {"id": 3, "content": "<s>", "special": true}], "normalizer": null, "pre_tokenizer": null,
  "post_processor": null, "decoder": null,
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

Tokenizer parse(const std::string& config, const std::string& map = "") {
  return parse_tokenizer({"dir/tokenizer.json", kTokenizer, config, map}, {});
}

std::string refusal_of(const std::string& config) {
  try {
    parse(config);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

TEST(NamedTokens, DecoderTokensComeInTheOrderOfTheirNumbers) {
  const Tokenizer tokenizer = parse(R"({"added_tokens_decoder": {
    "10": {"content": "<ten>", "special": true}, "11": {"content": "<eleven>"},
    "3": {"content": "<s>"}, "9": {"content": "<nine>", "normalized": false}}})");
  EXPECT_EQ(tokenizer.encode("<eleven><ten><nine><s>").ids, (Ids{6, 5, 4, 3}));
  EXPECT_EQ(tokenizer.decode(Ids{5, 4, 3}, true), "<nine>");
  EXPECT_THAT(refusal_of(R"({"added_tokens_decoder": {"x": {"content": "y"}}})"),
              HasSubstr("added_tokens_decoder: expected an object of tokens by id"));
  EXPECT_THAT(refusal_of(R"({"added_tokens_decoder": [1]})"), HasSubstr("tokens by id"));
}

// The same tokens, whatever the field and its form.
TEST(NamedTokens, MoreSpecialTokensComeBehindTheRoles) {
  const std::string list = R"(["<x>", "ab", {"content": "<y>", "lstrip": true,
                               "normalized": false}])";
  const std::string object = R"({"z_token": "<x>", "b_token": "ab",
    "a_token": {"__type": "AddedToken", "content": "<y>", "lstrip": true, "normalized": false}})";
  for (const char* field : {"additional_special_tokens", "extra_special_tokens"}) {
    for (const std::string& value : {list, object}) {
      for (const bool in_map : {false, true}) {
        SCOPED_TRACE(field + value + (in_map ? " in the map" : ""));
        const std::string tokens =
            R"({"eos_token": "</s>", ")" + std::string(field) + "\": " + value + "}";
        const Tokenizer tokenizer = in_map ? parse("", tokens) : parse(tokens);
        EXPECT_EQ(tokenizer.eos_token_id(), 4);
        EXPECT_EQ(tokenizer.encode("a<x>bab  <y>").ids, (Ids{0, 5, 1, 2, 6}));
        EXPECT_EQ(tokenizer.decode(Ids{0, 5, 2, 6, 1, 4}, true), "a b");
        EXPECT_EQ(tokenizer.vocab_size(), 7);
      }
    }
  }
  EXPECT_THAT(refusal_of(R"({"extra_special_tokens": "x"})"),
              HasSubstr("extra_special_tokens: expected a list of tokens"));
  EXPECT_THAT(refusal_of(R"({"additional_special_tokens": [7]})"),
              HasSubstr("additional_special_tokens[0]: expected a string, got 7"));
}

}  // namespace
}  // namespace diffllama
