#include "checkpoint/gguf/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/gguf/gguf_test_writer.h"

namespace diffllama {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

std::string refused(const GgufTestWriter& writer) {
  const std::string bytes = writer.bytes();
  return refusal(
      [&] { read_gguf_vocabulary(GgufFile(std::as_bytes(std::span(bytes)), "m.gguf")); });
}

TEST(GgufTokenizer, ReadsAVocabulary) {
  const GgufVocabulary vocabulary = read_gguf_vocabulary(
      GgufFile(std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/gguf/llama.gguf"));
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "smollm");
  ASSERT_EQ(vocabulary.tokens.size(), 45U);
  EXPECT_EQ(vocabulary.tokens[44], "t44");
  EXPECT_EQ(vocabulary.token_type.size(), 45U);
  EXPECT_EQ(vocabulary.token_type[0], 3);
  EXPECT_EQ(vocabulary.token_type[44], 1);
  EXPECT_THAT(vocabulary.merges, ElementsAre("t 1", "t 2"));
  EXPECT_EQ(vocabulary.bos_token_id, 3);
  EXPECT_EQ(vocabulary.eos_token_id, 4);
  EXPECT_EQ(vocabulary.unknown_token_id, 0);
  EXPECT_EQ(vocabulary.padding_token_id, 2);
  EXPECT_TRUE(vocabulary.add_bos_token);
  EXPECT_FALSE(vocabulary.add_eos_token);
}

TEST(GgufTokenizer, ReadsAFileWithoutOne) {
  GgufTestWriter writer;
  writer.add("tokenizer.ggml.model", "no_vocab");
  const std::string bytes = writer.bytes();
  const GgufVocabulary vocabulary =
      read_gguf_vocabulary(GgufFile(std::as_bytes(std::span(bytes)), "m.gguf"));
  EXPECT_EQ(vocabulary.model, "no_vocab");
  EXPECT_TRUE(vocabulary.tokens.empty());
  EXPECT_EQ(vocabulary.bos_token_id, std::nullopt);
}

TEST(GgufTokenizer, KeepsAnyBytesOfTokens) {
  GgufTestWriter writer;
  const Words words = {std::string("a\0b", 3), "\xff\xfe", "", "<0x-1>"};
  writer.add("tokenizer.ggml.tokens", words);
  const std::string bytes = writer.bytes();
  EXPECT_EQ(read_gguf_vocabulary(GgufFile(std::as_bytes(std::span(bytes)), "m.gguf")).tokens,
            words);
}

// CVE-2025-49847, CVE-2025-52566: lengths of tokens that turned negative as int32.
TEST(GgufTokenizer, RefusesLongTokens) {
  GgufTestWriter writer;
  writer.add("tokenizer.ggml.tokens", Words{"a", std::string(65'537, 'b')});
  EXPECT_EQ(refused(writer),
            "m.gguf: key \"tokenizer.ggml.tokens\": expected texts of at most 65536 bytes, got "
            "65537");
  GgufTestWriter huge;
  huge.add("tokenizer.ggml.tokens", 9,
           raw<std::uint32_t>(8) + raw<std::uint64_t>(1) + raw((std::uint64_t{1} << 31) + 1) + "b");
  EXPECT_THAT(refused(huge), HasSubstr("expected 2147483649 bytes, got the end of the file"));
}

TEST(GgufTokenizer, RefusesAModelFileThatIsNotBase64) {
  GgufTestWriter writer;
  writer.add("diffllama.tokenizer_model", "YQ=");
  const std::string bytes = writer.bytes();
  const GgufFile file(std::as_bytes(std::span(bytes)), "m.gguf");
  EXPECT_THAT(
      refusal([&] { read_gguf_tokenizer(file, {}); }),
      HasSubstr("key \"diffllama.tokenizer_model\": expected base64, got a text of 3 bytes"));
}

TEST(GgufTokenizer, RefusesMoreTokensThanMemoryAllows) {
  GgufTestWriter writer;
  writer.add("tokenizer.ggml.merges", Words(1'000'001));
  EXPECT_THAT(refused(writer), HasSubstr("expected at most 1000000 elements, got an array of "
                                         "1000001 string"));
}

TEST(GgufTokenizer, RefusesKeysOfOtherTypes) {
  const auto refused_key = [](const char* key, auto value) {
    GgufTestWriter writer;
    writer.add(std::string("tokenizer.ggml.") + key, value);
    return refused(writer);
  };
  EXPECT_THAT(refused_key("model", 1U), HasSubstr("expected a string, got a uint32"));
  EXPECT_THAT(refused_key("tokens", std::vector<std::int32_t>{1}),
              HasSubstr("expected an array of strings, got an array of 1 int32"));
  EXPECT_THAT(refused_key("token_type", Words{"a"}), HasSubstr("expected an array of integers"));
  EXPECT_THAT(refused_key("merges", "a b"), HasSubstr("expected an array of strings"));
  EXPECT_THAT(refused_key("bos_token_id", "1"), HasSubstr("expected an integer, got a string"));
  EXPECT_THAT(refused_key("add_bos_token", 1U), HasSubstr("expected a bool, got a uint32"));
  GgufTestWriter writer;
  writer.add("tokenizer.ggml.token_type", 9,
             raw<std::uint32_t>(11) + raw<std::uint64_t>(1) + raw(std::int64_t{1} << 40));
  EXPECT_THAT(refused(writer), HasSubstr("expected int32, got 1099511627776"));
}

}  // namespace
}  // namespace diffllama
