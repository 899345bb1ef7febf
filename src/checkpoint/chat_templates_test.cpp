#include "checkpoint/chat_templates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/gguf/gguf_test_writer.h"
#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(ChatTemplates, OfTokenizerConfig) {
  const auto of = [](const std::string& config) { return config_chat_templates(config, "c.json"); };
  EXPECT_THAT(of(""), IsEmpty());
  EXPECT_THAT(of("{}"), IsEmpty());
  EXPECT_THAT(of(R"({"chat_template": null})"), IsEmpty());
  EXPECT_THAT(of(R"({"chat_template": "a"})"), UnorderedElementsAre(Pair("default", "a")));
  EXPECT_THAT(of(R"({"chat_template": [{"name": "default", "template": "a"},
                                       {"name": "tool_use", "template": "b"}]})"),
              UnorderedElementsAre(Pair("default", "a"), Pair("tool_use", "b")));
  for (const char* wrong :
       {"3", R"([3])", R"([{"name": "a"}])", R"([{"name": 1, "template": "b"}])"}) {
    EXPECT_THAT(refusal([&] { of(std::string(R"({"chat_template": )") + wrong + "}"); }),
                HasSubstr("c.json: chat_template: expected a text, or a list"));
  }
}

TEST(ChatTemplates, FilesOfADirectoryComeBeforeItsConfig) {
  const TestDirectory directory;
  const std::string config = R"({"chat_template": "config"})";
  EXPECT_THAT(directory_chat_templates(directory.path(), config),
              UnorderedElementsAre(Pair("default", "config")));
  fs::create_directory(directory.path() / "chat_templates");
  fs::create_directory(directory.path() / "additional_chat_templates");
  directory.write("chat_template.jinja", "file");
  directory.write("chat_templates/rag.jinja", "r");
  directory.write("chat_templates/tool_use.jinja", "of less weight");
  directory.write("additional_chat_templates/default.jinja", "of less weight");
  directory.write("additional_chat_templates/tool_use.jinja", "t");
  directory.write("chat_templates/README.md", "no template");
  EXPECT_THAT(
      directory_chat_templates(directory.path(), config),
      UnorderedElementsAre(Pair("default", "file"), Pair("rag", "r"), Pair("tool_use", "t")));
}

TEST(ChatTemplates, OfAGgufFile) {
  GgufTestWriter file;
  file.add("tokenizer.chat_template", std::string("a"));
  file.add("tokenizer.chat_template.tool_use", std::string("b"));
  file.add("tokenizer.chat_templates", std::vector<std::string>{"tool_use"});
  const std::string bytes = file.bytes();
  const GgufFile opened(std::as_bytes(std::span(bytes)), "m.gguf");
  EXPECT_THAT(gguf_chat_templates(opened),
              UnorderedElementsAre(Pair("default", "a"), Pair("tool_use", "b")));
}

TEST(ChatTemplates, AreWrittenToAGgufFileAsTheyAreRead) {
  const ChatTemplates templates = {{"default", "a"}, {"rag", "r"}, {"tool_use", "t"}};
  const TestDirectory directory;
  GgufWriter writer;
  write_gguf_chat_templates(templates, writer);
  writer.write(directory.path() / "m.gguf", {});
  const GgufFile file(directory.path() / "m.gguf");
  EXPECT_EQ(gguf_chat_templates(file), templates);
  EXPECT_EQ(file.texts("tokenizer.chat_templates"),
            (std::vector<std::string_view>{"rag", "tool_use"}));
}

}  // namespace
}  // namespace diffllama
