// What the tokenizers library makes of texts of every sort (tools/make_tokenizer_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

using nlohmann::json;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::filesystem::path directory() {
  return std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/tokenizer";
}

std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory())) {
    found.push_back(entry.path().stem().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

GgufVocabulary gguf_vocabulary(const json& from) {
  GgufVocabulary vocabulary;
  vocabulary.model = from.at("model");
  vocabulary.pre = from.at("pre");
  vocabulary.tokens = from.at("tokens").get<std::vector<std::string>>();
  vocabulary.token_type = from.at("token_type").get<std::vector<std::int32_t>>();
  vocabulary.merges = from.at("merges").get<std::vector<std::string>>();
  vocabulary.bos_token_id = from.at("bos_token_id");
  vocabulary.eos_token_id = from.at("eos_token_id");
  vocabulary.add_bos_token = from.at("add_bos_token");
  vocabulary.add_eos_token = from.at("add_eos_token");
  return vocabulary;
}

Tokenizer tokenizer_of(const json& golden, const std::string& name) {
  if (golden.contains("gguf")) return make_tokenizer(gguf_vocabulary(golden["gguf"]), name);
  const std::string text = golden.at("tokenizer").dump();
  return parse_tokenizer({name, text, {}, {}}, {});
}

std::string text_of(const json& golden_case) {
  if (golden_case.contains("text")) return golden_case["text"];
  const std::string hex = golden_case.at("hex");
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::vector<std::size_t> flat(const std::vector<TokenOffset>& offsets) {
  std::vector<std::size_t> all;
  for (const TokenOffset& offset : offsets) all.insert(all.end(), {offset.begin, offset.end});
  return all;
}

class Golden : public testing::TestWithParam<std::string> {};

// All that an encoding has, as a case of tokenizer_components.py states it.
void expect_all(const Tokenizer& tokenizer, const json& golden_case) {
  EncodeOptions options;
  options.truncate_and_pad = true;
  const std::string text = text_of(golden_case);
  const auto encode = [&] {
    return golden_case.contains("pair")
               ? tokenizer.encode_pair(text, golden_case["pair"].get<std::string>(), options)
               : tokenizer.encode(text, options);
  };
  if (golden_case.contains("error")) {
    EXPECT_THROW(encode(), Error);
    return;
  }
  const Encoding encoding = encode();
  EXPECT_EQ(json(encoding.ids), golden_case["ids"]);
  EXPECT_EQ(json(flat(encoding.offsets)), golden_case["offsets"]);
  EXPECT_EQ(json(encoding.word_ids), golden_case["words"]);
  EXPECT_EQ(json(encoding.type_ids), golden_case["types"]);
  EXPECT_EQ(json(encoding.special_tokens_mask), golden_case["special"]);
  EXPECT_EQ(json(encoding.attention_mask), golden_case["attention"]);
  EXPECT_EQ(tokenizer.decode(encoding.ids), golden_case["decoded"]);
  EXPECT_EQ(tokenizer.decode(encoding.ids, true), golden_case["skipped"]);
  if (golden_case["plain"].is_null()) return;
  options.add_special_tokens = false;
  EXPECT_EQ(json(encode().ids), golden_case["plain"]);
}

TEST_P(Golden, EqualsTheTokenizersLibrary) {
  const json golden = json::parse(read(directory() / (GetParam() + ".json")));
  const Tokenizer tokenizer = tokenizer_of(golden, GetParam());
  ASSERT_GT(golden.at("cases").size(), 20U);
  for (const json& golden_case : golden["cases"]) {
    SCOPED_TRACE(golden_case.dump().substr(0, 200));
    if (GetParam().starts_with("c_")) {
      expect_all(tokenizer, golden_case);
      continue;
    }
    const std::string text = text_of(golden_case);
    const Encoding encoding = tokenizer.encode(text);
    EXPECT_EQ(json(encoding.ids), golden_case["ids"]);
    EXPECT_EQ(json(flat(encoding.offsets)), golden_case["offsets"]);
    EXPECT_EQ(json(tokenizer.encode(text, false).ids), golden_case["plain"]);
    EXPECT_EQ(tokenizer.decode(encoding.ids), golden_case["decoded"]);
    EXPECT_EQ(tokenizer.decode(encoding.ids, true), golden_case["skipped"]);

    std::string streamed;
    Tokenizer::Stream stream(tokenizer, true);
    for (const std::int64_t id : encoding.ids) streamed += stream.push(id);
    streamed += stream.finish();
    EXPECT_EQ(streamed, golden_case["skipped"]);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden, testing::ValuesIn(names()),
                         [](const auto& suite) { return suite.param; });

}  // namespace
}  // namespace diffllama
