// apply-chat-template and chat, as their users run them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/process.h"
#include "cli/terminal.h"

namespace diffllama::cli_test {
namespace {

using testing::HasSubstr;

const std::string kModel = DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";
constexpr const char* kTemplate =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}";
constexpr const char* kConversation = R"({"messages": [{"role": "user", "content": "To </s>"}]})";

class Chat : public testing::Test {
 protected:
  // `chat` with short answers.
  Result chat(const std::string& input, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {
        "chat",    "-m", kModel, "--chat-template",  template_, "--dtype",
        "float32", "-t", "1",    "--max-new-tokens", "8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, {.input = input});
  }

  Scratch scratch_;
  std::string template_ = scratch_.file("t.jinja", kTemplate);
};

TEST_F(Chat, ApplyChatTemplatePrintsTheTextAndNothingElse) {
  const Result text =
      run_program({"apply-chat-template", "-m", kModel, "--chat-template", template_},
                  {.input = kConversation});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out, "user: To </s></s>\n");
  EXPECT_EQ(text.err, "");
}

TEST_F(Chat, SpecialTokensInAMessageStayText) {
  const std::vector<std::string> command = {"apply-chat-template", "-m",      kModel,
                                            "--chat-template",     template_, "--json"};
  const auto ids_of = [&](const std::vector<std::string>& arguments) {
    const Result result = run_program(arguments, {.input = kConversation});
    EXPECT_EQ(result.status, 0) << result.err;
    const nlohmann::json json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json["text"], "user: To </s></s>\n");
    return json["ids"].get<std::vector<int>>();
  };
  const std::vector<int> safe = ids_of(command);
  EXPECT_EQ(std::ranges::count(safe, 2), 1);
  std::vector<std::string> unsafe = command;
  unsafe.emplace_back("--allow-special-in-content");
  EXPECT_EQ(std::ranges::count(ids_of(unsafe), 2), 2);
}

TEST_F(Chat, RefusalsAreOneLine) {
  const std::string broken = scratch_.file("b.jinja", "\n{{ raise_exception('no') }}");
  const Result refused = run_program(
      {"apply-chat-template", "-m", kModel, "--chat-template", broken}, {.input = kConversation});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_EQ(
      refused.err,
      "error: " + broken + ": chat template: line 2: the template refuses the conversation: no\n");
  const Result none = run_program({"apply-chat-template", "-m", kModel}, {.input = kConversation});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("expected a model with a chat template"));
}

TEST_F(Chat, AnswersEachLineAndReadsOnlyWhatIsNew) {
  // Prompt tokens of the last turn, and those of them that were cached.
  const auto stats = [&](const std::string& input) {
    const Result result = chat(input);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_GE(std::ranges::count(result.out, '\n'), 1) << result.out;
    // The number that stands right before `words`.
    const auto number_before = [&](const char* words) {
      const size_t end = result.err.find(words);
      if (end == std::string::npos) {
        ADD_FAILURE() << result.err;
        return 0;
      }
      const size_t begin = result.err.find_last_not_of("0123456789", end - 1) + 1;
      return std::stoi(result.err.substr(begin, end - begin));
    };
    return std::pair(number_before(" prompt tokens, "), number_before(" of them cached"));
  };
  const auto [first, first_cached] = stats("To be\n/stats\n");
  const auto [second, second_cached] = stats("To be\nThe end\n/stats\n");
  EXPECT_EQ(first_cached, 0);
  // What the first turn read; its answer too, but for what joins another token in the template.
  EXPECT_GE(second_cached, first - 1);
  EXPECT_LT(second_cached, second);
}

TEST_F(Chat, ACachedTurnIsTheRecomputedOne) {
  const std::string file = (scratch_.path() / "c.json").string();
  const Result cached = chat("To be\nThe end\n/save " + file + "\n");
  EXPECT_EQ(cached.status, 0) << cached.err;
  const auto conversation = nlohmann::json::parse(read_file(file));
  ASSERT_EQ(conversation["messages"].size(), 4U);
  const std::string answer = conversation["messages"][3]["content"];
  const Result anew = chat("/load " + file + "\n/regen\n");
  EXPECT_EQ(anew.status, 0) << anew.err;
  EXPECT_EQ(anew.out, answer + "\n");
}

TEST_F(Chat, CommandsChangeTheConversation) {
  const std::string file = (scratch_.path() / "c.json").string();
  const Result result =
      chat("one\n/reset\n/system Be\n\"\"\"\na\nb\n\"\"\"\n/save " + file + "\n/help\n");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("/regen"));
  const auto messages = nlohmann::json::parse(read_file(file))["messages"];
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_EQ(messages[0]["content"], "Be");
  EXPECT_EQ(messages[1]["content"], "a\nb");
  const Result wrong = chat("/nothing\n");
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.err, HasSubstr("expected a command of /help, got /nothing"));
}

TEST_F(Chat, TakesTheOptionsOfGenerationButThoseOfOneText) {
  const Result plain = chat("To be\n");
  ASSERT_THAT(plain.out, testing::StartsWith(" I "));
  const Result without = chat("To be\n", {"--suppress-tokens", "303"});  // " I"
  EXPECT_EQ(without.status, 0) << without.err;
  EXPECT_NE(without.out, plain.out);
  const Result stopped = chat("To be\n", {"--stop", plain.out.substr(0, 3)});
  EXPECT_EQ(stopped.out, "\n");
  const Result wrong = chat("To be\n", {"--top-p", "2"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, HasSubstr("top_p: expected a number from 0 to 1, got 2"));
  const Result word = chat("To be\n", {"--top-k", "x"});
  EXPECT_EQ(word.status, 2);
  EXPECT_THAT(word.err, HasSubstr("chat: top_k"));
  EXPECT_EQ(chat("To be\n", {"--num-return-sequences", "2"}).status, 2);
  EXPECT_EQ(chat("To be\n", {"--max-length", "9"}).status, 2);
}

TEST_F(Chat, WithoutATemplateItSaysSo) {
  const Result none = run_program({"chat", "-m", kModel}, {.input = "Hi\n"});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("brings no chat template: --plain takes a plain one"));
  const Result plain =
      run_program({"chat", "-m", kModel, "--plain", "--max-new-tokens", "4"}, {.input = "Hi\n"});
  EXPECT_EQ(plain.status, 0) << plain.err;
  EXPECT_NE(plain.out, "");
}

TEST_F(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  Terminal terminal({"chat", "-m", kModel, "--chat-template", template_, "--dtype", "float32",
                     "--repetition-penalty", "1.3", "--max-new-tokens", "100000"});
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  terminal.type("To be\n");
  ASSERT_TRUE(terminal.wait_for("\x1b[36m")) << terminal.screen();  // the answer's colour
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("[stopped]")) << terminal.screen();
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  terminal.type("half a line\x03");
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  terminal.type("/stats\n");
  ASSERT_TRUE(terminal.wait_for("prompt tokens")) << terminal.screen();
  // Typed before the line is being edited, it would be thrown away with what else waits.
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  EXPECT_EQ(terminal.exit_status("\x04"), 0) << terminal.screen();
}

}  // namespace
}  // namespace diffllama::cli_test
