// tokenizer.model files: what transformers makes of them (tools/make_model_file_goldens.py), and
// what broken ones get.
#include "tokenizer/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

fs::path goldens() { return fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/tokenizer_model"; }

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ModelFileGolden : public testing::TestWithParam<const char*> {};

TEST_P(ModelFileGolden, EqualsTransformers) {
  const fs::path directory = goldens() / GetParam();
  const Tokenizer tokenizer = load_tokenizer(directory, {});
  const json cases = json::parse(read(directory / "cases.json"));
  ASSERT_GE(cases.size(), 5U);
  for (const json& each : cases) {
    SCOPED_TRACE(each.dump().substr(0, 200));
    const std::string text = each["text"];
    EXPECT_EQ(json(tokenizer.encode(text).ids), each["ids"]);
    if (!each.contains("decoded")) continue;
    EXPECT_EQ(tokenizer.decode(each["ids"].get<std::vector<std::int64_t>>()), each["decoded"]);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, ModelFileGolden,
                         testing::Values("unigram_no_prefix", "bpe_llama", "bpe_legacy",
                                         "bpe_defaults", "bpe_null_prefix", "tiktoken",
                                         "bpe_added_tokens"));

TEST(ModelFile, AddedTokensKeepTheIdsThatAreStated) {
  const fs::path directory = goldens() / "bpe_added_tokens";
  const Tokenizer tokenizer = load_tokenizer(directory, {});
  EXPECT_EQ(tokenizer.vocab_size(), 606);
  EXPECT_EQ(tokenizer.token_to_id("<|user|>"), 605);
  EXPECT_EQ(tokenizer.id_to_token(605), "<|user|>");
  EXPECT_EQ(tokenizer.id_to_token(603), "");
  EXPECT_EQ(tokenizer.pad_token_id(), 600);
  const std::vector<std::int64_t> ids = {600, 602, 605};
  EXPECT_EQ(tokenizer.decode(ids), "[PAD]<|end|><|user|>");
  EXPECT_EQ(tokenizer.decode(ids, true), "<|user|>") << "[PAD] and <|end|> are special";

  const std::string bytes = read(directory / "tokenizer.model");
  const std::string list = read(directory / "added_tokens.json");
  TokenizerFiles files;
  files.where = directory / "tokenizer.model";
  files.tokenizer_model = bytes;
  files.added_tokens = list;
  // A list in the config is the newer one.
  files.tokenizer_config = R"({"added_tokens_decoder": {"700": {"content": "<|x|>"}}})";
  const Tokenizer newer = parse_tokenizer(files, {});
  EXPECT_EQ(newer.token_to_id("<|x|>"), 700);
  EXPECT_EQ(newer.token_to_id("<|user|>"), std::nullopt);
}

TEST(ModelFile, RefusesAddedTokensThatAreNone) {
  const auto refusal = [](const std::string& list) -> std::string {
    const std::string bytes = read(goldens() / "bpe_llama/tokenizer.model");
    TokenizerFiles files;
    files.where = "dir/tokenizer.model";
    files.tokenizer_model = bytes;
    files.added_tokens = list;
    try {
      parse_model_file(files);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no FormatError";
  };
  EXPECT_THAT(refusal("[1]"), HasSubstr("dir/added_tokens.json: expected an object of ids"));
  EXPECT_THAT(refusal(R"({"<a>": -1})"), HasSubstr("dir/added_tokens.json: <a>: expected an int"));
  EXPECT_THAT(refusal(R"({"<a>": "7"})"), HasSubstr("dir/added_tokens.json: <a>: expected an int"));
  EXPECT_THAT(refusal(R"({"<a>": 600, "<b>": 600})"),
              HasSubstr("dir/added_tokens.json: expected one token for the id 600, got"));
  EXPECT_THAT(refusal(R"({"": 600})"), HasSubstr("expected an added token of 1 to"));
}

std::string refusal_of(const std::string& bytes, const std::string& config = "") {
  TokenizerFiles files;
  files.where = "dir/tokenizer.model";
  files.tokenizer_config = config;
  files.tokenizer_model = bytes;
  try {
    parse_model_file(files);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

// A piece of a SentencePiece model: its text, score and type.
std::string piece(const std::string& text, const std::string& score, char type) {
  const std::string message =
      std::string("\x0a") + static_cast<char>(text.size()) + text + "\x15" + score + "\x18" + type;
  return std::string("\x0a") + static_cast<char>(message.size()) + message;
}
const std::string kZero(4, '\0');
const std::string kNotANumber("\x00\x00\xc0\x7f", 4);

TEST(ModelFile, RefusesWhatIsNoModel) {
  const std::string unknown = piece("<unk>", kZero, 2);
  EXPECT_THAT(refusal_of(""), HasSubstr("dir/tokenizer.model: expected a SentencePiece model"));
  EXPECT_THAT(refusal_of("version https://"), HasSubstr("dir/tokenizer.model: expected"));
  EXPECT_THAT(refusal_of(piece("a", kZero, 1)), HasSubstr("expected a model that SentencePiece"));
  EXPECT_THAT(refusal_of(unknown + piece("a", kNotANumber, 1)), HasSubstr("finite scores"));
  EXPECT_THAT(refusal_of(unknown + piece("", kZero, 1)), HasSubstr("pieces of UTF-8 text"));
  EXPECT_THAT(refusal_of(unknown + piece(std::string("a\0b", 3), kZero, 1)),
              HasSubstr("pieces of UTF-8 text"));
  EXPECT_THAT(refusal_of(unknown + piece("\xff", kZero, 1)), HasSubstr("pieces of UTF-8 text"));
  EXPECT_THAT(refusal_of(unknown + piece("a", kZero, 9)), HasSubstr("piece types from 1 to 6"));
  EXPECT_THAT(refusal_of(unknown + piece("a", kZero, 1) + piece("a", kZero, 1)),
              HasSubstr("each token once"));
  EXPECT_THAT(refusal_of(unknown + "\x12\x02\x18\x04"), HasSubstr("expected model_type"));
  EXPECT_THAT(refusal_of(std::string("\x0a\xff\xff\xff\xff\x0f")), HasSubstr("whole fields"));
  EXPECT_THAT(refusal_of(std::string(20, '\xff')), HasSubstr("numbers of at most ten bytes"));
  const std::string model = read(goldens() / "bpe_llama/tokenizer.model");
  for (std::size_t length = 0; length < 64; ++length) {
    EXPECT_THAT(refusal_of(model.substr(0, length)), HasSubstr("dir/tokenizer.model: expected"));
  }
}

TEST(ModelFile, RefusesBrokenTiktokenLines) {
  EXPECT_THAT(refusal_of("YQ== 0\nYg==\n"), HasSubstr("dir/tokenizer.model:2: expected a token"));
  EXPECT_THAT(refusal_of("YQ== 0\nYg== -1\n"), HasSubstr("dir/tokenizer.model:2: expected"));
  EXPECT_THAT(refusal_of("YQ== 0\nYg== 1x\n"), HasSubstr("dir/tokenizer.model:2: expected"));
  EXPECT_THAT(refusal_of("YQ== 0\nY*== 1\n"), HasSubstr("dir/tokenizer.model:2: expected"));
  EXPECT_THAT(refusal_of("YQ== 0\nYg== 0\n"), HasSubstr("one token for each id"));
  EXPECT_THAT(refusal_of("YQ== 0\nYQ== 1\n"), HasSubstr("each token once"));
  EXPECT_THAT(refusal_of("YQ== 0\nYg== 99999999\n"), HasSubstr("ids from 0 to"));
  EXPECT_THAT(refusal_of("YQ== 0\n", R"({"added_tokens_decoder": {"x": {"content": "y"}}})"),
              HasSubstr("added_tokens_decoder: expected an object of tokens by id"));
}

}  // namespace
}  // namespace diffllama
