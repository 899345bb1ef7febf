#include "generation/constraints/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "diffllama/error.h"
#include "generation/constraints/test_vocabulary.h"

namespace diffllama {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string refusal(const std::string& schema, const ConstraintLimits& limits = {}) {
  try {
    compile_json_schema(schema, test_vocabulary(), limits);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

struct Case {
  const char* schema;
  std::vector<const char*> valid, invalid;
};

void check(const std::vector<Case>& cases) {
  for (const auto& [schema, valid, invalid] : cases) {
    SCOPED_TRACE(schema);
    const auto constraint = compile_json_schema(schema, test_vocabulary(), {});
    for (const char* text : valid) EXPECT_TRUE(constraint->accepts(text)) << text;
    for (const char* text : invalid) EXPECT_FALSE(constraint->accepts(text)) << text;
  }
}

TEST(JsonSchema, AnyValue) {
  check({{"true",
          {"1", "null", R"({"a":[1, {"b":"x\n\u00e9"}]})", R"("\ud83d\ude00")", "-0.5e-3", "[]"},
          {"", "01", "[1,]", R"("\ud83d")", R"({"a"})", "nul", "[1 ,2]", "\"\n\""}},
         {R"({"type":"object"})", {R"({"a":1,"b":[]})", "{}"}, {"[]"}},
         {R"({"type":["null","boolean"]})", {"null", "true"}, {"1"}}});
}

TEST(JsonSchema, BoundsOfNumbers) {
  check({{R"({"type":"integer","minimum":-5,"maximum":120})",
          {"0", "-5", "120", "99", "7", "100"},
          {"-6", "121", "1.0", "-0", "007", "1e1"}},
         {R"({"type":"number","exclusiveMinimum":0.5,"maximum":2})",
          {"0.50000001", "2", "2.000", "1.999", "1"},
          {"0.5", "2.0001", "3", "0", "0.4", "-1"}},
         {R"({"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":2})", {"1"}, {"0", "2"}},
         {R"({"type":"integer","minimum":0.5})", {"1", "999999999999999"}, {"0", "-1"}},
         {R"({"type":"number","minimum":-1.5,"maximum":-0.25})",
          {"-1.5", "-1", "-0.25", "-0.5"},
          {"-1.51", "-0.2", "0"}},
         {R"({"minimum":10})", {"10", "999999999", "\"x\"", "10.5"}, {"9", "9.99", "-10"}},
         {R"({"type":"integer","minimum":1e3,"maximum":1e20})", {"1000", "10000"}, {"999"}}});
}

TEST(JsonSchema, Strings) {
  check({{R"({"type":"string","minLength":2,"maxLength":3})",
          {R"("ab")", "\"\xc3\xa9\xf0\x9f\x99\x82z\"", R"("\n\u0041")", R"("\ud83d\ude00x")"},
          {R"("a")", R"("abcd")", R"("\n")", R"("\ud83d\ude00")"}},
         {R"({"type":"string","pattern":"^[a-c]+\"$"})",
          {R"("a\"")", R"("abc\"")"},
          {R"("\"")", R"("abd\"")"}},
         {R"({"type":"string","pattern":"b"})", {R"("abc")", R"("b")"}, {R"("ac")"}},
         {R"({"type":"string","pattern":"^\\n\\\\$"})", {R"("\n\\")"}, {"\"\n\\\\\""}},
         {R"({"type":"string","pattern":"^a*b*$","maxLength":3,"minLength":2})",
          {R"("aab")", R"("ab")", R"("bb")"},
          {R"("a")", R"("aabb")", R"("ba")"}},
         {R"({"allOf":[{"type":"string","pattern":"a"},{"pattern":"^.b"}]})",
          {R"("ab")", R"("cba")"},
          {R"("cb")", R"("ba")"}},
         {R"({"type":"string","format":"date"})",
          {R"("2024-02-29")", R"("2000-02-29")", R"("2023-12-31")", R"("0001-01-01")"},
          {R"("2023-02-29")", R"("1900-02-29")", R"("2023-13-01")", R"("2023-04-31")",
           R"("0000-01-01")"}},
         {R"({"type":"string","format":"time"})",
          {R"("23:59:59Z")", R"("00:00:00.123-08:00")"},
          {R"("24:00:00Z")", R"("23:59:60Z")", R"("23:59:59")"}},
         {R"({"type":"string","format":"date-time"})",
          {R"("2024-02-29T10:00:00Z")", R"("2023-12-31T23:59:59.5+01:00")"},
          {R"("2024-02-29 10:00:00Z")"}},
         {R"({"type":"string","format":"uuid"})",
          {R"("123e4567-e89b-12d3-a456-426614174000")"},
          {R"("123e4567e89b12d3a456426614174000")"}},
         {R"({"type":"string","format":"email","maxLength":8})",
          {R"("a.b@c.de")"},
          {R"("a@b")", R"(".a@b.c")", R"("ab.b@c.de")"}}});
}

TEST(JsonSchema, MaxLengthOf10000) {
  const auto constraint =
      compile_json_schema(R"({"type":"string","maxLength":10000})", test_vocabulary(), {});
  const auto of_length = [](std::size_t size) { return '"' + std::string(size, 'x') + '"'; };
  EXPECT_TRUE(constraint->accepts(of_length(10000)));
  EXPECT_FALSE(constraint->accepts(of_length(10001)));
}

TEST(JsonSchema, Objects) {
  check({{R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"null"},
              "c":{"const":1}},"required":["a"]})",
          {R"({"b":1,"a":null,"c":1})", R"({"a": null})", R"({"a":null, "c":1})"},
          {R"({"b":1})", R"({"a":null,"b":1})", R"({"a":null,"d":1})", R"({,"a":null})", "{}"}},
         {R"({"type":"object","properties":{"a":{"type":"integer"}},
              "additionalProperties":{"type":"string"}})",
          {R"({"a":1,"b":"x","c":"y"})", "{}", R"({"ab":"x"})", R"({"":"x"})"},
          {R"({"b":1})", R"({"b":"x","a":"x"})", R"({"a":1,"\u0061":"x"})"}},
         {R"({"type":"object","properties":{"a":false,"q\"":{"type":"null"}}})",
          {"{}", R"({"q\"":null})"},
          {R"({"a":1})"}},
         {R"({"type":"object","required":["z"],"additionalProperties":{"type":"integer"}})",
          {R"({"z":1})", R"({"z":1,"y":2})"},
          {"{}", R"({"z":"a"})"}}});
}

TEST(JsonSchema, Arrays) {
  check({{R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],
              "items":{"type":"null"},"minItems":1,"maxItems":4})",
          {"[1]", R"([1,"a"])", R"([1,"a",null,null])"},
          {"[]", R"(["a"])", R"([1,"a",null,null,null])", "[1,null]"}},
         {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
          {"[1,2]", "[1, 2,3]"},
          {"[1]", "[1,2,3,4]", "[]"}},
         {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}]})",
          {"[]", "[1]", R"([1,"a"])"},
          {R"([1,"a",2])"}},
         {R"({"type":"array","items":{"type":"integer"},"maxItems":0})", {"[]"}, {"[1]"}},
         {R"({"type":"array","items":false})", {"[]"}, {"[1]"}},
         {R"({"type":"array","prefixItems":[{"type":"null"},false],"items":{"type":"integer"}})",
          {"[]", "[null]"},
          {"[null,1]"}}});
}

TEST(JsonSchema, ReferencesAndCombinations) {
  check({{R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","required":["v","next"],
              "properties":{"v":{"type":"integer"},
                            "next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}}}}})",
          {R"({"v":1,"next":{"v":2,"next":null}})"},
          {R"({"v":1})"}},
         {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},
                       {"properties":{"a":{"minimum":3},"b":{"type":"string"}},"type":"object"}]})",
          {R"({"a":3})", R"({"a":4,"b":"x"})"},
          {R"({"a":2})", "{}"}},
         {R"({"oneOf":[{"type":"integer"},{"type":"string"}]})", {"1", R"("a")"}, {"null"}},
         {R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"x":{"type":"integer"}},
                        "required":["k"]},
                       {"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})",
          {R"({"k":"a","x":1})", R"({"k":"b"})"},
          {R"({"k":"c"})", R"({"k":"b","x":1})"}},
         {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},
              "oneOf":[{"required":["a"]},{"required":["b"]}]})",
          {R"({"a":1})", R"({"b":1})"},
          {R"({"a":1,"b":1})", "{}"}},
         {R"({"enum":["a",1,null,{"x":1}],"type":["string","integer"]})",
          {R"("a")", "1"},
          {"null", R"({"x":1})"}},
         {R"({"const":{"b":[1,2.5],"a":"\""}})", {R"({"b":[1,2.5],"a":"\""})"}, {"{}"}},
         {R"({"anyOf":[{"type":"string","maxLength":2},{"type":"integer","maximum":5}]})",
          {R"("ab")", "5"},
          {"6", R"("abc")"}},
         {R"({"properties":{"a~b/c%":{"type":"null"}},"type":"object","required":["x"],
              "additionalProperties":{"$ref":"#/properties/a~0b~1c%25"}})",
          {R"({"x":null})"},
          {R"({"x":1})"}}});
}

// As they are written: doubles would be other numbers.
TEST(JsonSchema, LongNumbers) {
  check({{R"({"const":12345678901234567890123})",
          {"12345678901234567890123"},
          {"1.2345678901234568e+22", "12345678901234567890124"}},
         {R"({"enum":[-9223372036854775809,18446744073709551616,0.1234567890123456789]})",
          {"-9223372036854775809", "18446744073709551616", "0.1234567890123456789"},
          {"-9223372036854775808", "0.12345678901234568"}},
         {R"({"const":[12345678901234567890123,{"a":12345678901234567890124}]})",
          {R"([12345678901234567890123,{"a":12345678901234567890124}])"},
          {}},
         {R"({"allOf":[{"enum":[12345678901234567890123,12345678901234567890124]},
                       {"const":12345678901234567890124}]})",
          {"12345678901234567890124"},
          {"12345678901234567890123"}},
         {R"({"oneOf":[{"const":12345678901234567890123},{"const":12345678901234567890124}]})",
          {"12345678901234567890123", "12345678901234567890124"},
          {}},
         {R"({"enum":[9007199254740992,9007199254740993],"maximum":9007199254740992})",
          {"9007199254740992"},
          {"9007199254740993"}},
         {R"({"enum":[12345678901234567890123.5,12345678901234567890123],"type":"integer"})",
          {"12345678901234567890123"},
          {"12345678901234567890123.5"}},
         {R"({"enum":[1.0,2.5,3],"type":"integer"})", {"1.0", "3"}, {"2.5"}}});
}

TEST(JsonSchema, ListedValuesAreWrittenAsOthers) {
  check({{R"({"const":{"b":[1,2.5],"a\n":"\u00e9\""}})",
          {R"({"b":[1,2.5],"a\n":"é\""})", R"({"b": [1, 2.5], "a\n": "é\""})"},
          {R"({"a\n":"é\"","b":[1,2.5]})", R"({"b":[1,2.5 ],"a\n":"é\""})"}},
         {R"({"enum":["a","ab","abc","b","",1,12,[],null]})",
          {R"("a")", R"("ab")", R"("abc")", R"("b")", R"("")", "1", "12", "[]", "null"},
          {R"("abcd")", R"("c")", "2", "\"", "nul"}}});
}

TEST(JsonSchema, ReferencesByName) {
  check(
      {{R"({"$id":"https://x.y/s.json","type":"object","$defs":{"n":{"$anchor":"num","type":"null"}},
              "properties":{"a":{"$ref":"#num"},"b":{"$ref":"https://x.y/s.json#/$defs/n"},
                            "c":{"$ref":"s.json#num"},"d":{"$ref":"https://x.y/s.json"}}})",
        {R"({"a":null,"b":null,"c":null,"d":{"a":null}})"},
        {R"({"a":1})", R"({"b":1})", R"({"c":1})", R"({"d":1})"}},
       {R"({"type":"array","items":{"const":1},"uniqueItems":false})", {"[1,1]"}, {"[2]"}}});
}

// What pydantic writes for unions with a discriminator and zod for records.
TEST(JsonSchema, KeywordsThatAskForNothing) {
  check({{R"({"discriminator":{"propertyName":"k","mapping":{"a":"#/$defs/A","b":"#/$defs/B"}},
              "oneOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/B"}],"example":1,
              "$defs":{"A":{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},
                       "B":{"type":"object","properties":{"k":{"const":"b"},"n":{"type":"null"}},
                            "required":["k"]}}})",
          {R"({"k":"a"})", R"({"k":"b","n":null})"},
          {R"({"k":"c"})"}},
         {R"({"type":"object","propertyNames":{"type":"string"},"markdownDescription":"`a`",
              "additionalProperties":{"type":"null"}})",
          {R"({"a":null})"},
          {R"({"a":1})"}}});
  EXPECT_THAT(refusal(R"({"propertyNames":{"pattern":"^a"}})"),
              HasSubstr("#/propertyNames: expected a keyword"));
}

TEST(JsonSchema, RefusesByPath) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "json_schema: expected JSON"},
      {"[]", "#: expected a schema"},
      {R"({"type":"strin"})", "#/type: expected null, boolean"},
      {R"({"properties":{"a/b":{"not":{}}}})", "#/properties/a~1b/not: expected a keyword"},
      {R"({"items":{"uniqueItems":true}})", "#/items/uniqueItems: expected a keyword"},
      {R"({"if":{}})", "#/if: expected a keyword"},
      {R"({"patternProperties":{}})", "#/patternProperties: expected a keyword"},
      {R"({"multipleOf":2})", "#/multipleOf: expected a keyword"},
      {R"({"$ref":"#"})", "#: expected a schema that does not refer to itself without end"},
      {R"({"anyOf":[{"$ref":"#"}]})", "do not begin with themselves"},
      {R"({"oneOf":[{"type":"integer"},{"minimum":2}]})",
       "#/oneOf: expected branches that exclude each other"},
      {R"({"$ref":"http://x"})", "#/$ref: expected a reference into this document"},
      {R"({"$ref":"#nope"})", "#/$ref: expected an $anchor that is in the document"},
      {R"({"$ref":"#a","allOf":[{"$anchor":"a"},{"$anchor":"a","type":"null"}]})",
       "#/$ref: expected an $anchor that is in the document once"},
      {R"({"$id":"s.json","$ref":"s.jsonx"})", "#/$ref: expected a reference into this document"},
      {R"({"$ref":"#/nope"})", "#/$ref: expected a place that is in the document"},
      {R"({"minLength":-1})", "#/minLength: expected an integer from 0 to 1000000, got -1"},
      {R"({"pattern":"("})", "#/pattern: expected a pattern that can be read"},
      {R"({"pattern":"(?=a)b"})", "lookaround"},
      {R"({"format":"ipv4"})", "#/format: expected one of the formats"},
      {R"({"minimum":1e20})", "#/minimum: expected a bound below 1e15"},
      {R"({"required":[1]})", "#/required: expected a list of strings"},
      {R"({"enum":[]})", "#/enum: expected a list of values"},
      {R"({"properties":{"a":{"$id":"x"}}})", "#/properties/a/$id: expected no $id"},
      {"false", "got what none can"},
      {R"({"type":"object","required":["a"],"properties":{"a":false}})", "got what none can"},
      {R"({"type":"string","minLength":3,"maxLength":2})", "got what none can"},
      {R"({"type":"array","items":{"$ref":"#"},"minItems":1})", "got what none can"},
  };
  for (const auto& [schema, message] : cases) {
    EXPECT_THAT(refusal(schema), HasSubstr(message)) << schema;
  }
}

TEST(JsonSchema, NestedOneOfCompilesInFewSteps) {
  // 6 deep, 8 branches each; 8^6 ways.
  std::string schema = R"({"$ref":"#/$defs/n6","$defs":{"n0":{"type":"string"})";
  for (int depth = 1; depth <= 6; ++depth) {
    schema += ",\"n" + std::to_string(depth) + R"(":{"oneOf":[)";
    for (int i = 0; i < 8; ++i) {
      schema += (i == 0 ? "" : ",") +
                std::string(R"({"type":"object","properties":{"t":{"const":"v)") +
                std::to_string(i) + R"("},"c":{"$ref":"#/$defs/n)" + std::to_string(depth - 1) +
                R"("}},"required":["t","c"]})";
    }
    schema += "]}";
  }
  schema += "}}";
  EXPECT_EQ(refusal(schema, {.steps = 20000}), "accepted");
}

// {"oneOf": [...]} of `count` branches.
template <class Branch>
std::string one_of(int count, const Branch& branch) {
  std::string text = R"({"oneOf":[)";
  for (int i = 0; i < count; ++i) text.append(i == 0 ? "" : ",").append(branch(std::to_string(i)));
  return text + "]}";
}

// What tells branches apart by their values is not looked for in all pairs; what is, counts.
TEST(JsonSchema, ManyBranchesAndValues) {
  const auto constant = [](const std::string& i) {
    return std::string(R"({"const":)").append(i).append("}");
  };
  const auto constraint =
      compile_json_schema(one_of(20000, constant), test_vocabulary(), {.steps = 1'000'000});
  EXPECT_TRUE(constraint->accepts("19999"));
  EXPECT_FALSE(constraint->accepts("20000"));
  const auto tagged = [](const std::string& i) {
    return std::string(R"({"type":"object","properties":{"k":{"const":")")
        .append(i)
        .append(R"("}},"required":["k"]})");
  };
  EXPECT_EQ(refusal(one_of(1000, tagged), {.steps = 200'000}), "accepted");
  const auto ranges = [](const std::string& i) {
    return std::string(R"({"type":"integer","minimum":1)")
        .append(i)
        .append("0,\"maximum\":1")
        .append(i)
        .append("9}");
  };
  EXPECT_EQ(refusal(one_of(40, ranges), {.steps = 200'000}), "accepted");
  EXPECT_THAT(refusal(one_of(400, ranges), {.steps = 200'000}), HasSubstr("steps, got more"));
  EXPECT_THAT(refusal(one_of(2, [](const std::string&) { return R"({"const":1})"; })),
              HasSubstr("exclude each other"));

  std::string list = R"({"enum":[)";
  for (int i = 0; i < 70000; ++i) {
    list.append(i == 0 ? "\"" : ",\"").append("value ").append(std::to_string(i)).append("\"");
  }
  const auto values = compile_json_schema(list + "]}", test_vocabulary(), {});
  EXPECT_TRUE(values->accepts(R"("value 69999")"));
  EXPECT_FALSE(values->accepts(R"("value 70000")"));
}

TEST(JsonSchema, HostileOnes) {
  std::string deep = "true";
  for (int i = 0; i < 10000; ++i) deep.insert(0, R"({"items":)").append("}");
  EXPECT_THAT(refusal(deep), HasSubstr("levels of nesting"));
  // Groups whose branches multiply: 4^30.
  std::string product = R"({"allOf":[)";
  for (int i = 0; i < 30; ++i) {
    product += (i == 0 ? "" : ",") + std::string(R"({"anyOf":[)");
    for (int j = 0; j < 4; ++j) {
      product += (j == 0 ? "" : ",") + std::string(R"({"maxLength":)") +
                 std::to_string(100 + 4 * i + j) + "}";
    }
    product += "]}";
  }
  EXPECT_THAT(refusal(product + "]}", {.steps = 50000}), HasSubstr("in 50000 steps, got more"));
  EXPECT_THAT(refusal(R"({"type":"string","pattern":"^(a|b|ab)*c{900000}$","minLength":900000})",
                      {.steps = 200000}),
              HasSubstr("steps, got more"));
  std::string wide = R"({"type":"object","properties":{)";
  for (int i = 0; i < 4000; ++i) wide += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\":{}";
  EXPECT_EQ(refusal(wide + "}}"), "accepted");
  wide = "{";
  for (int i = 0; i < 6000; ++i) wide += (i == 0 ? "\"x-" : ",\"x-") + std::to_string(i) + "\":1";
  EXPECT_THAT(refusal(wide + "}"), HasSubstr("objects of at most 5000 members, got more"));
  EXPECT_THAT(refusal(R"({"a":1,"a":2})"), AllOf(HasSubstr("each key once")));
  EXPECT_THAT(refusal(R"({"$ref":"#/a","a":{"$ref":"#/b"},"b":{"$ref":"#/a"}})"),
              HasSubstr("expected a"));
  EXPECT_THAT(refusal(R"({"minimum":1e999})"), HasSubstr("number overflow"));
  EXPECT_THAT(refusal("\xff"), HasSubstr("expected JSON"));
}

}  // namespace
}  // namespace diffllama
