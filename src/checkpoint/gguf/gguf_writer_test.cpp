#include "checkpoint/gguf/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TensorSource tensor_of(std::string name, Shape shape, const std::string& bytes,
                       DType dtype = DType::float32) {
  return {std::move(name), dtype, std::move(shape),
          [bytes](const TensorSource::Sink& sink) { sink(std::as_bytes(std::span(bytes))); }};
}

std::string bytes_of(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

TEST(GgufWriter, WritesWhatIsRead) {
  const TestDirectory directory;
  GgufWriter writer;
  writer.set("integer", 7U);
  writer.set("number", 0.5F);
  writer.set("flag", true);
  writer.set("text", "first");
  writer.set("texts", std::vector<std::string>{"a", std::string("\0\xff", 2), ""});
  writer.set("integers", std::vector<std::int32_t>{1, -2});
  writer.set("text", "second");
  const std::string blocks(36, 'q');
  const std::string odd = raw(1.0F) + raw(2.0F) + raw(3.0F);
  writer.write(directory.path() / "m.gguf",
               {tensor_of("odd", {3}, odd), tensor_of("blocks", {1, 64}, blocks, DType::q4_0)});
  const GgufFile file(directory.path() / "m.gguf");
  EXPECT_EQ(file.metadata().size(), 6U);
  EXPECT_EQ(file.integer("integer"), 7);
  EXPECT_EQ(file.number("number"), 0.5);
  EXPECT_EQ(file.boolean("flag"), true);
  EXPECT_EQ(file.text("text"), "second");
  EXPECT_THAT(file.texts("texts"), ElementsAre("a", std::string_view("\0\xff", 2), ""));
  EXPECT_THAT(file.integers("integers"), ElementsAre(1, -2));
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(bytes_of(file.tensors().at("odd")), odd);
  EXPECT_EQ(file.tensors().at("blocks").shape, (Shape{1, 64}));
  EXPECT_EQ(bytes_of(file.tensors().at("blocks")), blocks);
}

TEST(GgufWriter, CopiesValuesOfEveryType) {
  const std::filesystem::path golden =
      std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/gguf/llama.gguf";
  const TestDirectory directory;
  const GgufFile from(golden);
  GgufWriter writer;
  for (const auto& [key, value] : from.metadata()) writer.set(key, value);
  writer.write(directory.path() / "m.gguf", {});
  const GgufFile to(directory.path() / "m.gguf");
  ASSERT_EQ(to.metadata().size(), from.metadata().size());
  for (const auto& [key, value] : from.metadata()) {
    const GgufValue& copy = to.metadata().at(key);
    EXPECT_EQ(copy.type, value.type) << key;
    EXPECT_EQ(copy.is_array, value.is_array) << key;
    EXPECT_TRUE(std::ranges::equal(copy.bytes, value.bytes)) << key;
  }
}

TEST(GgufWriter, RefusesWhatCannotBeReadAndLeavesTheOldFile) {
  const TestDirectory directory;
  const auto path = directory.write("m.gguf", "old");
  const auto refused = [&](std::vector<TensorSource> tensors) {
    return refusal([&] { GgufWriter().write(path, tensors); });
  };
  const std::string four = raw(1.0F);
  EXPECT_THAT(refused({tensor_of("a", {1}, four), tensor_of("a", {1}, four)}),
              HasSubstr("expected each tensor name once, got a twice"));
  EXPECT_THAT(refused({tensor_of(std::string(65, 'n'), {1}, four)}),
              HasSubstr("expected a name of 1 to 64 bytes, got 65"));
  EXPECT_THAT(refused({tensor_of("a", {}, four)}), HasSubstr("expected 1 to 4 sizes above 0"));
  EXPECT_THAT(refused({tensor_of("a", {1}, four, DType::int64)}), HasSubstr("got int64"));
  EXPECT_THAT(refused({tensor_of("a", {2, 16}, "", DType::q8_0)}),
              HasSubstr("tensor a: expected rows of whole blocks of 32, got [2, 16]"));
  EXPECT_THAT(refused({tensor_of("a", {2}, four)}), HasSubstr("expected 8 bytes, got 4"));
  EXPECT_EQ(read_whole_file(path), "old");
}

}  // namespace
}  // namespace diffllama
