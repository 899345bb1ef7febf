#include "training/data/masked_text_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/heads/losses.h"
#include "training/data/test_folder.h"

namespace diffllama {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Ids = std::vector<std::int64_t>;

const std::string kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const std::string kHeaders =
    "<s>{% for m in messages %}[{{ m.role }}]\n\n{{ m.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n\n{% endif %}";
const std::string kPlain =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}";

json conversation() {
  return {{"messages",
           {{{"role", "system"}, {"content", "Be kind."}},
            {{"role", "user"}, {"content", "Who are you?"}},
            {{"role", "assistant"}, {"content", "A friend."}},
            {{"role", "user"}, {"content", "assistant\n"}},
            {{"role", "assistant"}, {"content", "Yes <s>, indeed.\n"}}}}};
}

// The text of the tokens that count.
std::string counted(const MaskedText& text) {
  EXPECT_EQ(text.ids.size(), text.labels.size());
  Ids ids;
  for (std::size_t t = 0; t < text.ids.size(); ++t) {
    if (text.labels[t] == kIgnoreLabel) continue;
    EXPECT_EQ(text.labels[t], text.ids[t]);
    ids.push_back(text.ids[t]);
  }
  return tiny_tokenizer().decode(ids);
}

std::string counted(const std::string& source, const json& talk = conversation()) {
  const ChatTemplate chat_template({{"default", source}});
  return counted(encode_conversation(tiny_tokenizer(), chat_template, talk, "a:1"));
}

TEST(MaskedText, CountsTheAssistantsTurnsAndTheirEnd) {
  EXPECT_EQ(counted(kChatMl), "A friend.<|im_end|>Yes <s>, indeed.\n<|im_end|>");
  EXPECT_EQ(counted(kHeaders), "A friend.</s>Yes <s>, indeed.</s>");
  EXPECT_EQ(counted(kPlain), " A friend.\n Yes <s>, indeed.\n\n");  // " A" is one token
}

// tools/make_assistant_mask_goldens.py: transformers' assistant_masks, which TRL trains on.
TEST(MaskedText, CountsTheAssistantsTokensOfTransformers) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/chat/assistant_masks.json");
  const json goldens = json::parse(file);
  ASSERT_FALSE(goldens.empty());
  for (const json& golden : goldens) {
    const ChatTemplate chat_template({{"default", golden["template"]}},
                                     {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    const MaskedText text = encode_conversation(tiny_tokenizer(), chat_template,
                                                {{"messages", golden["messages"]}}, "golden");
    EXPECT_EQ(text.ids, golden["ids"].get<Ids>()) << golden;
    std::vector<int> mask;
    for (const std::int64_t label : text.labels) mask.push_back(label == kIgnoreLabel ? 0 : 1);
    EXPECT_EQ(mask, golden["mask"].get<std::vector<int>>()) << golden;
  }
}

TEST(MaskedText, CountsWhatGenerationBlocksWrite) {
  // As TRL's own template for assistant_only_loss: the turn's end counts, the newline behind not.
  const std::string marked =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
      "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n"
      "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}";
  EXPECT_EQ(counted(marked), "A friend.<|im_end|>Yes <s>, indeed.\n<|im_end|>");
  // A template may count a part of a turn alone, and need not write a prompt the same as a turn.
  EXPECT_EQ(counted("{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content[:1] }}"
                    "{% generation %}{{ m.content[1:] }}{% endgeneration %}{% endif %}{% endfor %}"
                    "{% if add_generation_prompt %}other{% endif %}"),
            " friend.es <s>, indeed.\n");
}

TEST(MaskedText, WhatAUserWritesIsNoControlToken) {
  const ChatTemplate chat_template({{"default", kHeaders}});
  const MaskedText text =
      encode_conversation(tiny_tokenizer(), chat_template, conversation(), "a:1");
  EXPECT_EQ(std::ranges::count(text.ids, 1), 1) << "the template's own <s> alone";
  EXPECT_EQ(std::ranges::count(text.labels, 2), 2) << "</s> of both turns";
}

TEST(MaskedText, NamesWhatIsNoConversation) {
  const auto message = [](const std::string& source, const json& talk) {
    return message_of([&] { counted(source, talk); });
  };
  EXPECT_EQ(message(kPlain, {{"messages", 3}}), "a:1: messages: expected a list, got 3");
  EXPECT_EQ(message(kPlain, {{"messages", {{{"role", "user"}, {"content", "a"}}}}}),
            "a:1: messages: expected a turn of the assistant, got none");
  // Forgets all but the last turn.
  EXPECT_THAT(message("{{ messages[-1].content }}", conversation()),
              HasSubstr("a:1: messages[2]: expected a template that writes what came before"));
  EXPECT_THAT(message("{{ raise_exception('no') }}", conversation()),
              AllOf(StartsWith("a:1: "), HasSubstr("no")));
  // Refused only where a part of the conversation is written.
  EXPECT_THAT(message("{% if messages|length < 4 %}{{ raise_exception('short') }}{% endif %}a",
                      conversation()),
              AllOf(StartsWith("a:1: "), HasSubstr("short")));
  EXPECT_EQ(message(kPlain, {{"messages", {{{"role", "assistant"}, {"content", 5}}}}}),
            "a:1: messages[0].content: expected a string, got 5");
  EXPECT_EQ(message(kPlain, {{"messages", {{{"role", 1}, {"content", "a"}}}}}),
            "a:1: messages[0].role: expected a string, got 1");
  EXPECT_EQ(message(kPlain, {{"messages", {{{"content", "a"}}}}}),
            "a:1: messages[0].role: expected a string, got null");
  EXPECT_EQ(message(kPlain, {{"messages", {"a"}}}),
            "a:1: messages[0]: expected an object, got \"a\"");
}

TEST(MaskedText, CountsTheCompletionAndEos) {
  const MaskedText text = encode_completion(tiny_tokenizer(), "One and", " two", "a:1");
  EXPECT_EQ(counted(text), " two</s>");
  EXPECT_EQ(text.ids[0], 1);
  EXPECT_EQ(message_of([] { encode_completion(tiny_tokenizer(), "a", "", "a:1"); }),
            "a:1: completion: expected a text, got none");
}

class MaskedTextSourceTest : public testing::Test {
 protected:
  MaskedTextSource make(const std::string& lines) {
    return {{folder_.write("a.jsonl", lines)}, tiny_tokenizer(), options_, Parallel(2), bad_rows_};
  }

  TestFolder folder_;
  MaskedTextOptions options_;
  BadRows bad_rows_;
};

TEST_F(MaskedTextSourceTest, NoTextPredictsTheNext) {
  const auto source = make(
      "{\"prompt\": \"the king of the land\", \"completion\": \" of Israel\"}\n"
      "{\"prompt\": \"\", \"completion\": \"a b\"}\n");
  ASSERT_EQ(source.size(), 2);
  const ForwardInputs inputs = source.collate(Ids{0, 1});
  EXPECT_EQ(inputs.labels->shape(), inputs.input_ids->shape());
  const auto first = static_cast<std::size_t>(source.tokens(0));
  EXPECT_EQ(inputs.labels->i64()[0], kIgnoreLabel);
  EXPECT_EQ(inputs.labels->i64()[first - 1], 2);
  EXPECT_EQ(inputs.labels->i64()[first], kIgnoreLabel);
  EXPECT_NE(inputs.labels->i64()[first + 1], kIgnoreLabel);
  EXPECT_EQ(inputs.position_ids->i64()[first], 0);
}

TEST_F(MaskedTextSourceTest, NamesTheRowThatATemplateRefuses) {
  options_.chat_template.emplace(std::map<std::string, std::string>{
      {"default",
       "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}"
       "{% endif %}" +
           kPlain}});
  const std::string good =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"
      "\n";
  const std::string bad = R"({"messages": [{"role": "assistant", "content": "b"}]})";
  EXPECT_THAT(message_of([&] { make(good + bad); }),
              AllOf(StartsWith((folder_ / "a.jsonl").string() + ":2: "), HasSubstr("user first")));
  bad_rows_ = BadRows(1);
  EXPECT_EQ(make(good + bad).size(), 1);
  EXPECT_THAT(bad_rows_.first(), StartsWith((folder_ / "a.jsonl").string() + ":2: "));
}

TEST_F(MaskedTextSourceTest, NamesRowsWithoutSomethingToLearn) {
  options_.max_length = 3;
  EXPECT_THAT(message_of([&] { make("{\"prompt\": \"a b c d e\", \"completion\": \"f\"}"); }),
              HasSubstr("a.jsonl:1: expected something to learn in the first 3 tokens"));
  EXPECT_THAT(message_of([&] { make("{\"prompt\": \"a\"}"); }),
              HasSubstr("a.jsonl:1: expected an object with a string \"completion\""));
  options_.chat_template.emplace(std::map<std::string, std::string>{{"default", kPlain}});
  EXPECT_THAT(message_of([&] { make("{\"turns\": []}"); }),
              HasSubstr("a.jsonl:1: expected an object with a \"messages\""));
}

}  // namespace
}  // namespace diffllama
