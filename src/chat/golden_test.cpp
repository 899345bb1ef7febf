// Templates against what jinja2 made of them (tools/make_chat_goldens.py).
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "diffllama/chat.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::ordered_json;

ordered_json read_goldens() {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/chat/templates.json");
  return ordered_json::parse(file);
}

TEST(ChatGolden, TemplatesGiveWhatJinja2Gives) {
  const ordered_json goldens = read_goldens();
  const std::map<std::string, std::string> tokens = goldens["special_tokens"];
  ASSERT_GT(goldens["cases"].size(), 500U);
  for (const ordered_json& golden : goldens["cases"]) {
    const std::string source = golden["template"];
    SCOPED_TRACE(source);
    const std::string given = goldens["given"][golden["given"].get<int>()].dump();
    std::string text;
    try {
      text = ChatTemplate({{"default", source}}, tokens).apply(given).text;
    } catch (const FormatError& error) {
      EXPECT_TRUE(golden["text"].is_null()) << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with("chat template: line ")) << error.what();
      continue;
    }
    EXPECT_EQ(ordered_json(text), golden["text"]);
  }
}

}  // namespace
}  // namespace diffllama
