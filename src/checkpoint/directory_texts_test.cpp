#include "checkpoint/directory_texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(DirectoryTexts, NameWhatEveryVersionOfTransformersKnows) {
  const auto made = [](const json& config) {
    return json::parse(tokenizer_config_for_every_version(config.dump(), "tokenizer_config.json"));
  };
  EXPECT_EQ(made({{"tokenizer_class", "TokenizersBackend"}, {"pad_token", "<pad>"}}),
            (json{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"pad_token", "<pad>"}}));
  EXPECT_EQ(made({{"extra_special_tokens", {"<x>"}}}),
            (json{{"additional_special_tokens", {"<x>"}}}));
  const std::string known =
      R"({"tokenizer_class":  "LlamaTokenizer", "extra_special_tokens": {"image_token": "<i>"}})";
  EXPECT_EQ(tokenizer_config_for_every_version(known, "x"), known);
  EXPECT_THAT(refusal([] { tokenizer_config_for_every_version("{", "t.json"); }),
              HasSubstr("t.json: expected JSON"));
}

TEST(DirectoryTexts, AreWrittenSo) {
  const TestDirectory directory;
  DirectoryTexts texts;
  texts.tokenizer.tokenizer_config = R"({"tokenizer_class": "TokenizersBackend"})";
  write_directory_texts(directory.path(), texts);
  EXPECT_THAT(read_whole_file(directory.path() / "tokenizer_config.json"),
              HasSubstr("PreTrainedTokenizerFast"));
}

TEST(DirectoryTexts, KeepEveryChatTemplate) {
  const auto read_again = [](const ChatTemplates& templates, const std::string& config) {
    const TestDirectory directory;
    DirectoryTexts texts;
    texts.tokenizer.tokenizer_config = config;
    texts.chat_templates = templates;
    write_directory_texts(directory.path(), texts);
    return std::pair(read_directory_texts(directory.path()).chat_templates,
                     std::filesystem::exists(directory.path() / "chat_template.jinja"));
  };
  const ChatTemplates one = {{"default", "a"}};
  const ChatTemplates two = {{"default", "a"}, {"tool_use", "b"}};
  EXPECT_EQ(read_again(one, ""), std::pair(one, true));
  EXPECT_EQ(read_again(one, R"({"chat_template": "a"})"), std::pair(one, false));
  EXPECT_EQ(read_again(one, R"({"chat_template": "b"})"), std::pair(one, true));
  EXPECT_EQ(read_again(two, ""), std::pair(two, false));
  EXPECT_EQ(read_again(two, R"({"chat_template": "a", "pad_token": "p"})"), std::pair(two, false));
}

TEST(DirectoryTexts, NameAGitLfsPointer) {
  const TestDirectory directory;
  directory.write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  EXPECT_THAT(refusal([&] { read_directory_texts(directory.path()); }),
              testing::AllOf(HasSubstr("tokenizer.json"), HasSubstr("Git LFS pointer")));
}

}  // namespace
}  // namespace diffllama
