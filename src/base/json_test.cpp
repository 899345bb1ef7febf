#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/text.h"
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

TEST(Json, KeepsTheOrderOfMembersWhereAsked) {
  const char* text = R"({"b":{"z":1,"y":[2]},"a":null})";
  EXPECT_EQ(parse_ordered_json(text, "f").dump(), text);
  EXPECT_THAT([] { parse_ordered_json(R"({"a":1,"a":2})", "f"); },
              testing::ThrowsMessage<FormatError>(testing::HasSubstr("the key \"a\" twice")));
  EXPECT_THAT([] { parse_ordered_json(R"([{"a":1,"b":2}])", "f", {.members = 1}); },
              testing::ThrowsMessage<FormatError>(
                  "f: expected JSON with objects of at most 1 members, got more"));
}

// Writes down the events that it gets.
struct Recorder : nlohmann::json_sax<nlohmann::json> {
  bool add(const std::string& event) {
    events += event + " ";
    return true;
  }
  bool null() override { return add("null"); }
  bool boolean(bool value) override { return add(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return add(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(std::to_string(value)); }
  bool number_float(number_float_t /*value*/, const string_t& text) override { return add(text); }
  bool string(string_t& value) override { return add(value); }
  bool binary(binary_t& /*value*/) override { return false; }
  bool start_object(std::size_t /*size*/) override { return add("{"); }
  bool key(string_t& name) override { return add(name + ":"); }
  bool end_object() override { return add("}"); }
  bool start_array(std::size_t /*size*/) override { return add("["); }
  bool end_array() override { return add("]"); }
  bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    return add("error");
  }
  std::string events;
};

TEST(Json, GivesMembersToTheirReaders) {
  Recorder list, text, absent;
  const JsonReaders readers = {{"a.list", &list}, {"text", &text}, {"a.absent", &absent}};
  const auto document = parse_json(
      R"({"text":"x","list":[1],"a":{"list":[{"list":-1,"k":[1.5,true,null]},2],"b":{"list":3}},)"
      R"("c":[{"a":{"list":4},"text":5}]})",
      "f", readers);
  EXPECT_EQ(document.dump(),
            R"({"a":{"b":{"list":3},"list":null},"c":[{"a":{"list":4},"text":5}],"list":[1],)"
            R"("text":null})");
  EXPECT_EQ(list.events, "[ { list: -1 k: [ 1.5 true null ] } 2 ] ");
  EXPECT_EQ(text.events, "x ");
  EXPECT_EQ(absent.events, "");
  EXPECT_THAT([&] { parse_json(R"({"text":1,"text":2})", "f", readers); },
              testing::ThrowsMessage<FormatError>(testing::HasSubstr("the key \"text\" twice")));
  EXPECT_THAT([&] { parse_json(R"({"text":[1,})", "f", readers); },
              testing::ThrowsMessage<FormatError>(testing::HasSubstr("f: expected JSON, got a")));
}

TEST(Json, ExcerptIsShort) {
  EXPECT_EQ(json_excerpt("abc"), "\"abc\"");
  EXPECT_EQ(json_excerpt(std::string(500, 'x')).size(), 60U);
  std::string long_text = "\"";  // the quote makes the 57th byte one within an é
  for (int i = 0; i < 50; ++i) long_text += "\xC3\xA9";
  EXPECT_TRUE(is_utf8(json_excerpt(long_text))) << json_excerpt(long_text);
  EXPECT_TRUE(is_utf8(json_excerpt(long_text.substr(1)))) << json_excerpt(long_text.substr(1));
  EXPECT_EQ(json_excerpt(nlohmann::json::array({1, 2})), "[1,2]");
}

}  // namespace
}  // namespace diffllama
