#include "checkpoint/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "checkpoint/test_files.h"

namespace diffllama {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;

std::string file_text(const std::string& header, const std::string& data = "") {
  return raw<std::uint64_t>(header.size()) + header + data;
}

SafetensorsContent parse(const std::string& text) {
  return parse_safetensors(std::as_bytes(std::span(text)), "m.safetensors");
}

std::string refused(const std::string& text) {
  return refusal([&] { parse(text); });
}

std::string refused_header(const std::string& header, const std::string& data = "") {
  return refused(file_text(header, data));
}

TEST(Safetensors, ReadsEveryDtypeInAnyOrder) {
  const auto content =
      parse(file_text(R"({"f":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                      R"("i":{"data_offsets":[0,8],"shape":[1,1],"dtype":"I64"},)"
                      R"("__metadata__":{"format":"pt","x":""},)"
                      R"("empty":{"dtype":"BF16","shape":[3,0],"data_offsets":[8,8]},)"
                      R"("scalar":{"dtype":"F64","shape":[],"data_offsets":[16,24]},)"
                      R"("b":{"dtype":"BOOL","shape":[1],"data_offsets":[24,25]},)"
                      R"("h":{"dtype":"F16","shape":[1],"data_offsets":[25,27]},)"
                      R"("i32":{"dtype":"I32","shape":[1],"data_offsets":[27,31]},)"
                      R"("i16":{"dtype":"I16","shape":[1],"data_offsets":[31,33]},)"
                      R"("i8":{"dtype":"I8","shape":[1],"data_offsets":[33,34]},)"
                      R"("u8":{"dtype":"U8","shape":[1],"data_offsets":[34,35]}}   )",
                      std::string(35, '\1')));
  ASSERT_EQ(content.tensors.size(), 10U);
  EXPECT_EQ(content.tensors.at("i").dtype, DType::int64);
  EXPECT_EQ(content.tensors.at("i").shape, (Shape{1, 1}));
  EXPECT_EQ(content.tensors.at("i").bytes.size(), 8U);
  EXPECT_EQ(content.tensors.at("scalar").shape, Shape{});
  EXPECT_EQ(content.tensors.at("empty").bytes.size(), 0U);
  EXPECT_EQ(content.tensors.at("h").dtype, DType::float16);
  EXPECT_EQ(content.tensors.at("b").dtype, DType::boolean);
  EXPECT_THAT(content.metadata, ElementsAre(testing::Pair("format", "pt"), testing::Pair("x", "")));
}

TEST(Safetensors, KnowsTensorsOfEveryDtypeOfTheFormat) {
  const std::pair<const char*, int> bits[] = {
      {"C64", 64},        {"U64", 64},    {"U32", 32},    {"U16", 16},
      {"F8_E4M3", 8},     {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};
  for (const auto& [name, size] : bits) {
    // A scalar where it has whole bytes, else the fewest elements that have.
    const int count = size % 8 == 0 ? 1 : 4;
    const std::string shape = size % 8 == 0 ? "[]" : "[2,2]";
    const std::size_t bytes = static_cast<std::size_t>(size * count) / 8;
    const std::string header = R"({"x":{"dtype":")" + std::string(name) + R"(","shape":)" + shape +
                               R"(,"data_offsets":[0,)" + std::to_string(bytes) +
                               R"(]},"e":{"dtype":")" + name + R"(","shape":[0,3],)" +
                               R"("data_offsets":[0,0]}})";
    const SafetensorsContent content = parse(file_text(header, std::string(bytes, '\0')));
    EXPECT_TRUE(content.tensors.empty());
    ASSERT_EQ(content.unread.size(), 2U) << name;
    EXPECT_EQ(content.unread.at("x").dtype, name);
    EXPECT_EQ(content.unread.at("e").shape, (Shape{0, 3}));
    EXPECT_THAT(refused(file_text(header, std::string(bytes + 1, '\0'))), HasSubstr("expected"));
  }
  EXPECT_THAT(refused(file_text(R"({"x":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})",
                                std::string(2, '\0'))),
              HasSubstr("expected whole bytes, got F4 [3]"));
}

TEST(Safetensors, ReadsAFileWithoutTensors) { EXPECT_TRUE(parse(file_text("{}")).tensors.empty()); }

TEST(Safetensors, RefusesAFileThatIsTooShort) {
  EXPECT_THAT(refused(""), HasSubstr("m.safetensors: expected a safetensors file of at least 8"));
  EXPECT_THAT(refused("1234567"), HasSubstr("got 7"));
}

TEST(Safetensors, RefusesHeaderLengths) {
  EXPECT_THAT(refused(raw<std::uint64_t>(0) + "{}"),
              HasSubstr("expected a safetensors header of 2 to 2 bytes, got a length of 0"));
  EXPECT_THAT(refused(raw<std::uint64_t>(3) + "{}"), HasSubstr("got a length of 3"));
  EXPECT_THAT(refused(raw<std::uint64_t>(UINT64_MAX) + "{}"),
              HasSubstr("got a length of 18446744073709551615"));
  std::string huge = raw<std::uint64_t>(100'000'001);
  huge.resize(huge.size() + 100'000'001, ' ');
  EXPECT_THAT(refused(huge),
              HasSubstr("header of 2 to 100000000 bytes, got a length of 100000001"));
}

TEST(Safetensors, RefusesHeadersThatAreNoObject) {
  EXPECT_THAT(refused_header(" {}"), HasSubstr("header: expected JSON that starts with {"));
  EXPECT_THAT(refused_header("[]"), HasSubstr("got byte 91"));
  EXPECT_THAT(refused_header("{]"), HasSubstr("expected JSON, got a parse error"));
  EXPECT_THAT(refused_header("{}{}"), HasSubstr("expected JSON, got a parse error"));
  EXPECT_THAT(refused_header("{\"\xff\":1}"), HasSubstr("UTF-8"));
  EXPECT_THAT(refused_header("{" + std::string(100'000, '[')), HasSubstr("parse error"));
  EXPECT_THAT(refused_header(R"({"a":)" + std::string(100'000, '[')), HasSubstr("got an array"));
}

TEST(Safetensors, RefusesDuplicates) {
  const std::string entry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_THAT(refused_header(R"({"a":)" + entry + R"(,"a":)" + entry + "}"),
              HasSubstr(R"(tensor "a": expected each name once, got it twice)"));
  EXPECT_THAT(refused_header(R"({"__metadata__":{},"__metadata__":{}})"),
              HasSubstr("__metadata__: expected each name once"));
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":"1","k":"2"}})"),
              HasSubstr(R"(__metadata__: expected each key once, got the key "k" twice)"));
  EXPECT_THAT(refused_header(R"({"a":{"dtype":"U8","dtype":"U8"}})"),
              HasSubstr(R"(expected each field once, got the field "dtype" twice)"));
}

TEST(Safetensors, RefusesMetadataThatIsNotStringToString) {
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":1}})"),
              HasSubstr(R"(expected a string as the value of "k", got 1)"));
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":{}}})"), HasSubstr("got an object"));
  EXPECT_THAT(refused_header(R"({"__metadata__":[]})"), HasSubstr("got an array"));
  EXPECT_THAT(refused_header(R"({"__metadata__":null})"), HasSubstr("got null"));
}

TEST(Safetensors, RefusesFieldsOfWrongTypes) {
  const auto with = [](const std::string& field) {
    return refused_header(R"({"a":{)" + field + "}}");
  };
  EXPECT_THAT(with(R"("dtype":"F8_E4M4")"),
              AllOf(HasSubstr(R"(tensor "a": expected a dtype of I64, F64, F32,)"),
                    HasSubstr(R"(got "F8_E4M4")")));
  EXPECT_THAT(with(R"("dtype":7)"), HasSubstr("expected a dtype of"));
  EXPECT_THAT(with(R"("dtype":["F32"])"), HasSubstr("got an array"));
  EXPECT_THAT(with(R"("shape":4)"), HasSubstr("expected a list of sizes as shape, got 4"));
  EXPECT_THAT(with(R"("shape":[-1])"),
              HasSubstr("expected sizes from 0 to 2^63-1 in shape, got -1"));
  EXPECT_THAT(with(R"("shape":[1.5])"), HasSubstr("got 1.5"));
  EXPECT_THAT(with(R"("shape":[1e999])"), HasSubstr("overflow"));
  EXPECT_THAT(with(R"("shape":[9223372036854775808])"), HasSubstr("got 9223372036854775808"));
  EXPECT_THAT(with(R"("shape":[18446744073709551616])"), HasSubstr("got 18446744073709551616"));
  EXPECT_THAT(with(R"("shape":[[1]])"), HasSubstr("got an array"));
  EXPECT_THAT(with(R"("shape":[true])"), HasSubstr("got true"));
  EXPECT_THAT(with(R"("data_offsets":[1])"),
              HasSubstr("expected two byte positions in data_offsets, got 1 numbers"));
  EXPECT_THAT(with(R"("data_offsets":[1,2,3])"), HasSubstr("got 3"));
  EXPECT_THAT(with(R"("data_offsets":[0,-1])"), HasSubstr("got -1"));
  EXPECT_THAT(with(R"("data_offsets":{})"), HasSubstr("got an object"));
  EXPECT_THAT(with(R"("bytes":1)"), HasSubstr(R"(got the field "bytes")"));
  EXPECT_THAT(with(R"("dtype":"F32","shape":[])"),
              HasSubstr("expected the fields dtype, shape and data_offsets, got only dtype shape"));
  EXPECT_THAT(
      refused_header(R"({"a":1})"),
      HasSubstr(R"(tensor "a": expected an object with dtype, shape and data_offsets, got 1)"));
}

std::string entry(const std::string& name, int begin, int end, const std::string& shape,
                  const std::string& dtype = "U8") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape +
         R"(,"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST(Safetensors, RefusesShapesThatDoNotMatchTheirBytes) {
  EXPECT_THAT(refused_header("{" + entry("a", 0, 4, "[3]") + "}", "1234"),
              HasSubstr("tensor \"a\": expected 3 bytes for U8 [3], got data_offsets [0, 4]"));
  EXPECT_THAT(
      refused_header("{" + entry("a", 0, 4, "[4294967296,4294967297]") + "}", "1234"),
      HasSubstr("expected a size of less than 2^64 bits, got shape [4294967296, 4294967297]"));
  EXPECT_THAT(refused_header("{" + entry("a", 0, 4, "[4611686018427387905]", "F32") + "}", "1234"),
              HasSubstr("less than 2^64 bits"));
}

TEST(Safetensors, RefusesRangesThatDoNotCoverTheData) {
  EXPECT_THAT(
      refused_header("{" + entry("a", 0, 4, "[4]") + "}", "123"),
      HasSubstr("expected data_offsets [begin, end] inside the 3 bytes of data, got [0, 4]"));
  EXPECT_THAT(refused_header("{" + entry("a", 4, 0, "[4]") + "}", "1234"), HasSubstr("got [4, 0]"));
  EXPECT_THAT(
      refused_header("{" + entry("a", 0, 4, "[4]") + "," + entry("b", 2, 6, "[4]") + "}", "123456"),
      HasSubstr("tensor \"b\": expected data from byte 4, where the tensor before it ends, "
                "got [2, 6], which overlaps it"));
  EXPECT_THAT(
      refused_header("{" + entry("a", 0, 2, "[2]") + "," + entry("b", 4, 6, "[2]") + "}", "123456"),
      HasSubstr("got [4, 6], a hole"));
  EXPECT_THAT(refused_header("{" + entry("a", 1, 2, "[1]") + "}", "12"), HasSubstr("a hole"));
  EXPECT_THAT(refused_header("{" + entry("a", 0, 4, "[4]") + "}", "12345"),
              HasSubstr("expected tensors that fill the 5 bytes of data, got 4"));
}

TEST(Safetensors, BoundsTheMemoryOfTheHeader) {
  EXPECT_THAT(refused_header(R"({"a":")" + std::string(5 << 20, 'x') + "\"}"),
              HasSubstr("expected strings of at most 4194304 bytes"));
  EXPECT_THAT(refused_header("{" + std::string(5 << 20, ' ') + "}"),
              HasSubstr("expected strings of at most 4194304 bytes"));
  std::string many = "{";
  for (int i = 0; i < 300'000; ++i) many += entry(std::to_string(i), 0, 0, "[0]") + ",";
  EXPECT_THAT(refused_header(many), HasSubstr("names and shapes of at most"));
  std::string sizes = R"({"a":{"shape":[1)";
  for (int i = 0; i < 4'000'000; ++i) sizes += ",1";
  EXPECT_THAT(refused_header(sizes), HasSubstr("names and shapes of at most"));
}

TEST(Safetensors, NamesInMessagesStayOnOneLine) {
  EXPECT_EQ(refused_header("{\"a\\nb" + std::string(200, 'x') + "\":1}").find('\n'),
            std::string::npos);
}

TEST(Safetensors, WritesTheSameBytesAsTheSafetensorsLibrary) {
  const std::filesystem::path original =
      std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "models/diffllama-tiny/model.safetensors";
  const SafetensorsFile file(original);
  std::vector<TensorSource> tensors;
  for (const auto& [name, view] : file.tensors()) tensors.push_back(copied_tensor(name, view));
  const TestDirectory directory;
  write_safetensors(directory.path() / "copy.safetensors", std::move(tensors));
  EXPECT_TRUE(read_whole_file(directory.path() / "copy.safetensors") == read_whole_file(original));
}

TEST(Safetensors, RoundTripsRandomTensors) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const TestDirectory directory;
  const auto path = directory.path() / "a.safetensors";
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> values;
    std::vector<TensorSource> sources;
    const std::size_t count = random() % 6;
    for (std::size_t i = 0; i < count; ++i) {
      Shape shape;
      for (std::size_t rank = random() % 4; rank > 0; --rank) shape.push_back(random() % 5);
      Tensor tensor(static_cast<DType>(random() % 10), shape);
      for (std::byte& byte : tensor.bytes()) byte = static_cast<std::byte>(random());
      values.push_back(std::move(tensor));
    }
    for (std::size_t i = 0; i < count; ++i) {
      sources.push_back(
          copied_tensor("tensor \"" + std::to_string(i) + "\" \u00e9", values[i].view()));
    }
    write_safetensors(path, std::move(sources));
    const SafetensorsFile file(path);
    ASSERT_EQ(file.tensors().size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      const TensorView& view = file.tensors().at("tensor \"" + std::to_string(i) + "\" \u00e9");
      EXPECT_EQ(view.dtype, values[i].dtype());
      EXPECT_EQ(view.shape, values[i].shape());
      EXPECT_TRUE(std::ranges::equal(view.bytes, values[i].bytes()));
    }
  }
}

TEST(Safetensors, RoundsRows) {
  const TestDirectory directory;
  const auto path = directory.path() / "a.safetensors";
  const auto read = [](std::int64_t row, std::span<float> out) {
    std::iota(out.begin(), out.end(), static_cast<float>(row) + 0.00390625F);
  };
  write_safetensors(path, {rounded_tensor("f32", DType::float32, {2, 3}, read),
                           rounded_tensor("bf16", DType::bfloat16, {3}, read),
                           rounded_tensor("scalar", DType::float16, {}, read),
                           rounded_tensor("none", DType::float16, {4, 0}, read)});
  const SafetensorsFile file(path);
  EXPECT_THAT(file.tensors(), ElementsAre(Key("bf16"), Key("f32"), Key("none"), Key("scalar")));
  std::vector<float> f32(6);
  std::memcpy(f32.data(), file.tensors().at("f32").bytes.data(), 24);
  EXPECT_THAT(f32, ElementsAre(0.00390625F, 1.00390625F, 2.00390625F, 1.00390625F, 2.00390625F,
                               3.00390625F));
  std::vector<std::uint16_t> bf16(3);
  std::memcpy(bf16.data(), file.tensors().at("bf16").bytes.data(), 6);
  EXPECT_THAT(bf16, ElementsAre(0x3b80, 0x3f80, 0x4000));  // 1.00390625 is a tie: to even, down
}

TEST(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const TestDirectory directory;
  const auto path = directory.path() / "a.safetensors";
  const Tensor tensor(DType::float32, {2});
  const auto write = [&](std::vector<TensorSource> tensors) {
    return refusal([&] { write_safetensors(path, std::move(tensors)); });
  };
  EXPECT_THAT(write({copied_tensor("a", tensor.view()), copied_tensor("a", tensor.view())}),
              HasSubstr("expected each name once"));
  EXPECT_THAT(write({copied_tensor("__metadata__", tensor.view())}), HasSubstr("__metadata__"));
  const Tensor blocks(DType::q8_0, {32});
  EXPECT_THAT(write({copied_tensor("q", blocks.view())}), HasSubstr("got q8_0"));
  const TensorView wrong{DType::float32, {3}, tensor.bytes()};
  EXPECT_THAT(write({copied_tensor("short", wrong)}), HasSubstr("expected 12 bytes, got 8"));
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

// Whatever a file holds, reading it ends in content or in a typed error.
TEST(Safetensors, SurvivesRandomChanges) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string valid =
      file_text(R"({"__metadata__":{"format":"pt"},)" + entry("a", 0, 8, "[2,1]", "F32") + "," +
                    entry("b", 8, 12, "[4]") + "," + entry("c", 12, 12, "[0]", "I64") + "}",
                "0123456789ab");
  ASSERT_EQ(refused(valid), "accepted");
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = valid;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text[at] = "{}[],:\"0129-e"[random() % 13];
          break;
        case 2:
          text.erase(at, 1 + random() % 4);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 30));
      }
      if (text.empty()) break;
    }
    try {
      for (const auto& [name, view] : parse(text).tensors) accepted += view.bytes.empty() ? 1 : 2;
    } catch (const Error& error) {
      ASSERT_STRNE(error.what(), "");
    }
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace diffllama
