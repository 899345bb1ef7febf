#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>

#include "chat/jinja/interpreter.h"
#include "chat/jinja/syntax.h"
#include "diffllama/chat.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kHello = R"({"messages": [{"role": "user", "content": "<|x|> hi"}]})";

std::string apply(const std::string& source, const std::string& conversation = kHello) {
  return ChatTemplate({{"default", source}}, {{"bos_token", "<s>"}}).apply(conversation).text;
}

std::string message_of(const std::string& source, const std::string& conversation = kHello) {
  try {
    apply(source, conversation);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

// The text with what came out of the conversation between braces.
std::string marked(const std::string& source, const std::string& conversation = kHello) {
  const RenderedChat chat =
      ChatTemplate({{"default", source}}, {{"bos_token", "<s>"}}).apply(conversation);
  std::string result;
  std::size_t begin = 0;
  for (const RenderedChat::Part& part : chat.parts) {
    const std::string text = chat.text.substr(begin, part.size);
    result += part.trusted ? text : "{" + text + "}";
    begin += part.size;
  }
  EXPECT_EQ(begin, chat.text.size());
  return result;
}

TEST(ChatTemplate, KnowsTheVariablesThatTransformersGives) {
  EXPECT_EQ(apply("{{ bos_token }}{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ x }}"),
            "<s>NoneNoneFalse");
  EXPECT_EQ(apply("{{ x }}{{ bos_token }}", R"({"messages": [], "x": 5, "bos_token": "B"})"), "5B");
}

TEST(ChatTemplate, OfSeveralTakesToolUseForTools) {
  using Sources = std::map<std::string, std::string>;
  const ChatTemplate both(Sources{{"default", "d"}, {"tool_use", "t"}, {"rag", "r"}});
  EXPECT_EQ(both.apply(kHello).text, "d");
  EXPECT_EQ(both.apply(R"({"messages": [], "tools": null})").text, "d");
  EXPECT_EQ(both.apply(R"({"messages": [], "tools": []})").text, "t");
  const ChatTemplate none(Sources{{"rag", "r"}, {"x", "y"}});
  EXPECT_THROW(none.apply(kHello), FormatError);
}

TEST(ChatTemplate, TakesMessagesOfCpp) {
  const ChatTemplate chat_template(std::map<std::string, std::string>{
      {"default",
       "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
       "{{ add_generation_prompt }}"}});
  const std::vector<ChatMessage> messages = {{"user", "a\"\n"}, {"assistant", "b"}};
  EXPECT_EQ(chat_template.apply(messages).text, "user:a\"\n;assistant:b;True");
  EXPECT_EQ(chat_template.apply(messages, false).text, "user:a\"\n;assistant:b;False");
}

TEST(ChatTemplate, MarksWhatComesOutOfTheConversation) {
  EXPECT_EQ(marked("<|x|>{{ messages[0].content }}<|y|>"), "<|x|>{<|x|> hi}<|y|>");
  EXPECT_EQ(marked("{{ '<' + messages[0].content[1:3] ~ '>' }}"), "<{|x}>");
  EXPECT_EQ(marked("{{ bos_token + messages[0].content | upper | trim }}"), "<s>{<|X|> HI}");
  EXPECT_EQ(marked("{{ messages[0].content.split('|') | join('|') }}"), "{<}|{x}|{> hi}");
  EXPECT_EQ(marked("{{ 'a-b'.replace('-', messages[0].content[:2]) }}"), "a{<|}b");
  EXPECT_EQ(marked("{{ messages[0].content.replace('|x|', '|y|') }}"), "{<}|y|{> hi}");
  EXPECT_EQ(marked("{{ '%s!' % messages[0].content }}{{ '{}?'.format('a') }}"), "{<|x|> hi}!a?");
  EXPECT_EQ(marked("{{ [messages[0].content] | tojson }}"), "[\"{<|x|> hi}\"]");
  EXPECT_EQ(marked("{{ [messages[0].content] | string }}"), "['{<|x|> hi}']");
  EXPECT_EQ(marked("{% set x %}<{{ messages[0].content }}{% endset %}{{ x }}"), "<{<|x|> hi}");
  EXPECT_EQ(marked("{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(messages[0].content) }}"),
            "[{<|x|> hi}]");
  EXPECT_EQ(marked("{{ messages[0].content | indent(1, true) }}"), " {<|x|> hi}");
  EXPECT_EQ(marked("{% for c in messages[0].content[:3] %}{{ c }}.{% endfor %}"), "{<}.{|}.{x}.");
  EXPECT_EQ(marked("{{ n }}{{ b }}{{ z }}{{ f }}{{ '%d' % n }}{{ [n] | tojson }}",
                   R"({"messages": [], "n": 1, "b": true, "z": null, "f": 1.5})"),
            "{1TrueNone1.51}[{1}]");
}

TEST(ChatTemplate, KnownRolesAreTheTemplatesOwn) {
  EXPECT_EQ(marked("{{ '<|' + messages[0].role + '|>' }}"), "<|user|>");
  EXPECT_EQ(marked("{{ '<|' + messages[0].role + '|>' }}",
                   R"({"messages": [{"role": "endoftext", "content": "user"}]})"),
            "<|{endoftext}|>");
  EXPECT_EQ(marked("{{ messages[0].content }}", R"({"messages": [{"content": "user"}]})"),
            "{user}");
}

TEST(ChatTemplate, NamesTheLineOfAnError) {
  EXPECT_EQ(message_of("a\n{{ missing.x }}"), "chat template: line 2: 'missing' is undefined");
  EXPECT_EQ(message_of("\n\n{% if %}"), "chat template: line 3: expected an expression, got %}");
  EXPECT_EQ(message_of("{# c\n #}\n{{ raise_exception('Only\nusers') }}"),
            "chat template: line 3: the template refuses the conversation: Only\nusers");
  EXPECT_EQ(
      message_of("{% for x in [1] %}\n{{ x +\n 'a' }}{% endfor %}"),
      "chat template: line 2: expected values that `+` can take, got an integer and a string");
  EXPECT_THAT(message_of("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n{{ m() }}"),
              StartsWith("chat template: line 2: "));
}

TEST(ChatTemplate, RefusesBrokenConversations) {
  EXPECT_THAT(message_of("", "{"), StartsWith("conversation: expected JSON, got a parse error"));
  EXPECT_EQ(message_of("", "[]"), "conversation: expected an object with \"messages\", got a list");
  EXPECT_EQ(message_of("", "{}"),
            "conversation: expected an object with \"messages\", got one without");
  EXPECT_EQ(message_of("", R"({"messages": "x"})"),
            "conversation: messages: expected a list of messages, got a string");
  EXPECT_THAT(message_of("", R"({"messages": ["x"]})"), HasSubstr("got a string"));
  EXPECT_THAT(message_of("", R"({"messages": [], "messages": []})"), HasSubstr("twice"));
  EXPECT_THAT(message_of("", R"({"messages": [], "n": 92233720368547758080})"),
              HasSubstr("expected JSON with integers of 64 bits"));
  EXPECT_THAT(message_of("", "{\"messages\": [], \"x\": \"\xff\"}"), HasSubstr("UTF-8"));
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_THAT(message_of("", R"({"messages": [], "x": )" + deep + "}"),
              HasSubstr("at most 128 levels of nesting"));
}

// ---- Templates that mean harm end in an error, soon.

// Under limits that a sanitizer reaches in time too.
std::string message_of_small(const std::string& source) {
  jinja::Limits limits;
  limits.steps = 100'000;
  limits.bytes = std::uint64_t{16} << 20;
  try {
    jinja::render(jinja::parse_template(source, "template"), {}, limits, "template");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

TEST(HostileTemplate, LoopsWithoutEnd) {
  EXPECT_THAT(message_of_small("{% for a in range(999) %}{% for b in [1, 2] * 99 %}"
                               "{{ a * b }}{% endfor %}{% endfor %}"),
              HasSubstr("steps"));
  EXPECT_THAT(message_of("{% macro m() %}{% for i in range(9999) %}{{ m() }}{% endfor %}"
                         "{% endmacro %}{{ m() }}"),
              HasSubstr("deep"));
  EXPECT_THAT(message_of_small("{% for a in range(99999) %}{% set x = range(9999) %}{% endfor %}"),
              HasSubstr("expected a template that"));
  EXPECT_THAT(message_of_small("{% for a in range(99999) %}{{ range(9999)|list|sum }}{% endfor %}"),
              HasSubstr("expected a template that"));
}

TEST(HostileTemplate, Recursion) {
  EXPECT_THAT(message_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("deep"));
  EXPECT_THAT(message_of("{% macro a() %}{{ caller() }}{% endmacro %}{% macro b() %}"
                         "{% call a() %}{{ b() }}{% endcall %}{% endmacro %}{{ b() }}"),
              HasSubstr("deep"));
  EXPECT_THAT(message_of("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
              HasSubstr("deep"));
}

TEST(HostileTemplate, HugeRangesAndNumbers) {
  EXPECT_THAT(message_of("{{ range(10 ** 18) }}"), HasSubstr("range of at most 100000"));
  EXPECT_THAT(message_of("{{ range(-9223372036854775807, 9223372036854775807, 3) }}"),
              HasSubstr("range of at most 100000"));
  EXPECT_THAT(message_of("{{ 2 ** 63 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(message_of("{{ (-9223372036854775807 - 1) // -1 }}"), HasSubstr("64 bits"));
  EXPECT_EQ(apply("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
  EXPECT_THAT(message_of("{{ 9999999999999999999 }}"), HasSubstr("64 bits"));
}

TEST(HostileTemplate, StringsAndListsThatGrow) {
  const std::string twice =
      "{% set n = namespace(x='ab') %}{% for i in range(99) %}"
      "{% set n.x = n.x + n.x %}{% endfor %}";
  EXPECT_THAT(message_of_small(twice), HasSubstr("bytes of text and lists"));
  EXPECT_THAT(message_of_small("{{ 'a' * 10 ** 15 }}"), HasSubstr("bytes of text and lists"));
  EXPECT_THAT(message_of_small("{{ [1] * 10 ** 15 }}"), HasSubstr("bytes of text and lists"));
  EXPECT_THAT(message_of_small("{{ 'x'.center(10 ** 15) }}"), HasSubstr("bytes of text and lists"));
  EXPECT_THAT(message_of_small("{{ 'x'.zfill(10 ** 15) }}"), HasSubstr("bytes of text and lists"));
  EXPECT_THAT(message_of_small("{{ 'x' | indent(10 ** 15, true) }}"),
              HasSubstr("bytes of text and lists"));
  EXPECT_THAT(message_of_small("{{ '%99999999d' % 1 }}"), HasSubstr("width"));
  EXPECT_THAT(message_of_small("{{ '{:99999999}'.format(1) }}"), HasSubstr("width"));
  EXPECT_THAT(message_of_small("{% set a = 'a' * 9999 %}{{ a.replace('a', a).replace('a', a) }}"),
              HasSubstr("bytes of text and lists"));
}

// What a number makes grow is refused before the work, not after: its size costs steps at once.
TEST(HostileTemplate, SizesAreCountedBeforeTheWork) {
  jinja::Limits limits;
  limits.steps = 1000;
  limits.bytes = std::uint64_t{1} << 40;
  const auto message = [&](const std::string& source) -> std::string {
    try {
      jinja::render(jinja::parse_template(source, "template"), {}, limits, "template");
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  };
  for (const char* source :
       {"{{ 'x' * 10 ** 6 }}", "{{ 10 ** 6 * 'x' }}", "{{ 'x' | center(10 ** 6) }}",
        "{{ 'x'.center(10 ** 6) }}", "{{ 'x'.ljust(10 ** 6) }}", "{{ 'x'.rjust(10 ** 6, '-') }}",
        "{{ 'x'.zfill(10 ** 6) }}", "{{ '\\t'.expandtabs(10 ** 6) }}", "{{ '%1000000d' % 1 }}",
        "{{ '%-1000000s' % 'x' }}", "{{ '{:^1000000}'.format('x') }}",
        "{{ 'x' | indent(10 ** 6, true) }}", "{{ [1] | batch(10 ** 6, 0) | list }}",
        "{{ ('x' * 100000) | escape }}", "{{ ('x' * 100000) | title }}"}) {
    EXPECT_THAT(message(source), HasSubstr("steps")) << source;
  }
  limits.steps = 20'000'000;
  for (const char* source :
       {"{{ 'x' * 9223372036854775807 }}", "{{ 'xyz' * 9223372036854775807 }}",
        "{{ [1, 2, 3] * 9223372036854775807 }}", "{{ (1, 2) * 9223372036854775807 }}",
        "{{ 'x'.ljust(9223372036854775807) }}", "{{ 'x'.center(9223372036854775807) }}",
        "{{ '\\t'.expandtabs(9223372036854775807) }}", "{{ [1] | slice(9223372036854775807) }}",
        "{{ [1] | batch(9223372036854775807, 0) }}"}) {
    EXPECT_THAT(message(source), HasSubstr("bytes of text and lists")) << source;
  }
  EXPECT_EQ(apply("{{ 'x'.ljust(-9223372036854775807 - 1) }}{{ 'x'.zfill(-9) }}"), "xx");
  EXPECT_THAT(message_of_small("{% set x = [1] | slice(150000) %}"),
              HasSubstr("bytes of text and lists"));
}

TEST(HostileTemplate, ValuesInOneAnother) {
  const std::string start = "{% set n = namespace(x=[]) %}{% for i in range(9999) %}";
  EXPECT_THAT(message_of(start + "{% set n.x = [n.x] %}{% endfor %}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of(start + "{% set n.x = {'k': n.x} %}{% endfor %}"),
              HasSubstr("in one another"));
  EXPECT_THAT(message_of(start + "{% set n.x = [n.x, n.x] %}{% endfor %}"), HasSubstr("values"));
  EXPECT_THAT(message_of(start + "{% set n.x = [n.x].index %}{% endfor %}"),
              HasSubstr("in one another"));
  // What holds itself is no leak (AddressSanitizer looks).
  EXPECT_EQ(apply("{% set n = namespace() %}{% set n.x = n %}{% set n.y = [n] %}ok"), "ok");
  EXPECT_EQ(apply("{% set n = namespace() %}{% for i in range(3) %}{% set p = n.m %}{% macro m() %}"
                  "{{ p }}{% endmacro %}{% set n.m = m %}{{ loop.changed(loop) }}{% endfor %}"),
            "TrueFalseFalse");
}

TEST(HostileTemplate, SourcesInOneAnother) {
  const auto many = [](const char* part) {
    std::string text;
    for (int i = 0; i < 20000; ++i) text += part;
    return text;
  };
  EXPECT_THAT(message_of("{{ " + many("(") + "1" + many(")") + " }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ " + many("[") + many("]") + " }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ " + many("not ") + "1 }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ " + many("-") + "1 }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ 1" + many("+1") + " }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ a" + many(".a") + " }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ a" + many("|a") + " }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{{ a" + many("(") + many(")") + " }}"), HasSubstr("in one another"));
  EXPECT_THAT(message_of(many("{% if 1 %}") + many("{% endif %}")), HasSubstr("in one another"));
  EXPECT_THAT(message_of("{% for " + many("(") + "a" + many(")") + " in x %}{% endfor %}"),
              HasSubstr("in one another"));
  EXPECT_THAT(message_of(std::string(5 << 20, ' ')), HasSubstr("at most 4194304 bytes"));
}

}  // namespace
}  // namespace diffllama
