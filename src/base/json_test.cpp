#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "diffllama/error.h"

namespace diffllama {
namespace {

std::string refusal(const std::string& text) {
  try {
    parse_json(text, "file.json");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Json, ParsesEveryKind) {
  const auto value = parse_json(
      R"({"a":[1,-2,3.5,true,null,"x\u00e9"],"b":{"c":{}},"d":18446744073709551615})", "f");
  EXPECT_EQ(value.dump(),
            R"({"a":[1,-2,3.5,true,null,"xé"],"b":{"c":{}},"d":18446744073709551615})");
  EXPECT_EQ(parse_json("7", "f"), 7);
}

TEST(Json, RefusesWithTheReason) {
  using testing::HasSubstr;
  EXPECT_THAT(refusal(R"({"a":1,"b":2,"a":3})"),
              HasSubstr("file.json: expected JSON with each key once, got the key \"a\" twice"));
  EXPECT_THAT(refusal("{"), HasSubstr("file.json: expected JSON, got a parse error"));
  EXPECT_THAT(refusal(""), HasSubstr("parse error"));
  EXPECT_THAT(refusal("[NaN]"), HasSubstr("parse error"));
  EXPECT_THAT(refusal("[1e999]"), HasSubstr("number overflow"));
  EXPECT_THAT(refusal("{} {}"), HasSubstr("parse error"));
  EXPECT_THAT(refusal("\"\xff\""), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal(std::string(10'000, '[')), HasSubstr("at most 128 levels"));
}

TEST(Json, BoundsTheMemoryOfTheParsedForm) {
  std::string text = "[1";
  for (int i = 0; i < 4'000'000; ++i) text += ",1";
  EXPECT_THAT(refusal(text + "]"), testing::HasSubstr("parsed form of at most"));
}

TEST(Json, ExcerptIsShort) {
  EXPECT_EQ(json_excerpt("abc"), "\"abc\"");
  EXPECT_EQ(json_excerpt(std::string(500, 'x')).size(), 60U);
  EXPECT_EQ(json_excerpt(nlohmann::json::array({1, 2})), "[1,2]");
}

}  // namespace
}  // namespace diffllama
