#include "checkpoint/gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf/gguf_test_writer.h"
#include "checkpoint/safetensors/safetensors.h"

namespace diffllama {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t k2To63 = std::uint64_t{1} << 63;

// A file with a key of each kind and two tensors.
GgufTestWriter valid_file() {
  GgufTestWriter file;
  file.add("general.architecture", "llama");
  file.add("count", std::uint32_t{7});
  file.add("ratio", 0.5F);
  file.add("flag", true);
  file.add("words", std::vector<std::string>{"a", "", std::string("\0\xff", 2)});
  file.add("ids", std::vector<std::int32_t>{1, -2});
  file.add_counting("matrix", {3, 2});
  file.add_tensor("blocks", {32, 2}, 8, std::string(68, '\1'));
  return file;
}

GgufFile parse(const std::string& bytes) {
  return GgufFile(std::as_bytes(std::span(bytes)), "m.gguf");
}

std::string refused(const std::string& bytes) {
  return refusal([&] { parse(bytes); });
}
std::string refused(const GgufTestWriter& file) { return refused(file.bytes()); }

// The refusal of a valid file with one more tensor description.
std::string refused_tensor(const std::string& name, const std::vector<std::uint64_t>& sizes,
                           std::uint32_t type = 0, std::uint64_t offset = 0) {
  GgufTestWriter file;
  file.add_info(name, sizes, type, offset);
  file.data = std::string(256, '\0');
  return refused(file);
}

TEST(Gguf, ReadsVersions2And3) {
  for (const std::uint32_t version : {2U, 3U}) {
    GgufTestWriter writer = valid_file();
    writer.version = version;
    const std::string bytes = writer.bytes();
    const GgufFile file = parse(bytes);
    EXPECT_EQ(file.text("general.architecture"), "llama");
    EXPECT_EQ(file.integer("count"), 7);
    EXPECT_EQ(file.number("ratio"), 0.5);
    EXPECT_EQ(file.boolean("flag"), true);
    EXPECT_THAT(file.texts("words"), ElementsAre("a", "", std::string_view("\0\xff", 2)));
    EXPECT_THAT(file.integers("ids"), ElementsAre(1, -2));
    EXPECT_EQ(file.array_size("words"), 3U);
    EXPECT_EQ(file.integer("none"), std::nullopt);
    EXPECT_TRUE(file.texts("none").empty());
    ASSERT_EQ(file.tensors().size(), 2U);
    EXPECT_EQ(file.tensors().at("matrix").shape, (Shape{2, 3}));
    EXPECT_EQ(file.tensors().at("blocks").shape, (Shape{2, 32}));
    EXPECT_EQ(file.tensors().at("blocks").dtype, DType::q8_0);
    EXPECT_EQ(file.tensors().at("blocks").bytes.size(), 68U);
  }
}

TEST(Gguf, ReadsEveryTypeOfNumber) {
  GgufTestWriter writer;
  writer.add("u8", 0, raw<std::uint8_t>(200));
  writer.add("i8", 1, raw<std::int8_t>(-100));
  writer.add("u16", 2, raw<std::uint16_t>(60000));
  writer.add("i16", 3, raw<std::int16_t>(-30000));
  writer.add("i32", 5, raw<std::int32_t>(-7));
  writer.add("u64", 10, raw<std::uint64_t>(k2To63 - 1));
  writer.add("i64", 11, raw<std::int64_t>(INT64_MIN));
  writer.add("f64", 12, raw(0.1));
  writer.add("big", 10, raw<std::uint64_t>(k2To63));
  writer.add("f64s", 9, raw<std::uint32_t>(12) + raw<std::uint64_t>(2) + raw(0.1) + raw(0.2));
  const std::string bytes = writer.bytes();
  const GgufFile file = parse(bytes);
  EXPECT_EQ(file.integer("u8"), 200);
  EXPECT_EQ(file.integer("i8"), -100);
  EXPECT_EQ(file.integer("u16"), 60000);
  EXPECT_EQ(file.integer("i16"), -30000);
  EXPECT_EQ(file.integer("i32"), -7);
  EXPECT_EQ(file.integer("u64"), INT64_MAX);
  EXPECT_EQ(file.integer("i64"), INT64_MIN);
  EXPECT_EQ(file.number("f64"), 0.1);
  EXPECT_THAT(file.numbers("f64s"), ElementsAre(0.1, 0.2));
  EXPECT_THAT(refusal([&] { file.integer("big"); }), HasSubstr("an integer up to 2^63-1"));
}

TEST(Gguf, RefusesBadMagic) {
  GgufTestWriter file = valid_file();
  file.magic = "GGML";
  EXPECT_EQ(refused(file), "m.gguf: magic: expected \"GGUF\", got \"GGML\"");
  file.magic = std::string("\0\n\xff\x1f", 4);
  EXPECT_THAT(refused(file), HasSubstr("magic: expected \"GGUF\", got"));
  EXPECT_THAT(refused(""), HasSubstr("magic: expected 4 bytes, got the end of the file after 0"));
}

TEST(Gguf, RefusesVersions) {
  GgufTestWriter file = valid_file();
  for (const std::uint32_t version : {0U, 1U, 4U, 0xffffffffU}) {
    file.version = version;
    EXPECT_EQ(refused(file),
              "m.gguf: version: expected 2 or 3, little-endian, got " + std::to_string(version));
  }
  file.version = 0x03000000;
  EXPECT_THAT(refused(file), HasSubstr("got 50331648, a big-endian file"));
}

TEST(Gguf, RefusesCountsOfTensors) {
  GgufTestWriter file = valid_file();
  for (const std::uint64_t count : {UINT64_MAX, k2To63, std::uint64_t{65'537}}) {
    file.claimed_tensors = count;
    EXPECT_EQ(refused(file),
              "m.gguf: number of tensors: expected 0 to 65536, got " + std::to_string(count));
  }
  file.claimed_tensors = 65'536;  // allowed, but not there
  EXPECT_THAT(refused(file), HasSubstr("tensor"));
}

TEST(Gguf, RefusesCountsOfKeys) {
  GgufTestWriter file = valid_file();
  for (const std::uint64_t count : {UINT64_MAX, k2To63, std::uint64_t{65'537}}) {
    file.claimed_keys = count;
    EXPECT_EQ(refused(file),
              "m.gguf: number of metadata keys: expected 0 to 65536, got " + std::to_string(count));
  }
  GgufTestWriter none;
  none.claimed_keys = 1;
  EXPECT_EQ(refused(none.bytes().substr(0, 24)),
            "m.gguf: name of metadata key 0: expected 8 bytes, got the end of the file after 0");
}

TEST(Gguf, RefusesLengthsOfKeys) {
  for (const std::uint64_t length : {UINT64_MAX, k2To63, std::uint64_t{65'536}}) {
    GgufTestWriter file;
    file.metadata = raw(length) + std::string(70'000, 'k');
    file.keys = 1;
    EXPECT_EQ(refused(file), "m.gguf: name of metadata key 0: expected at most 65535 bytes, got " +
                                 std::to_string(length));
  }
  GgufTestWriter file;
  file.metadata = raw<std::uint64_t>(1000) + "k";
  file.keys = 1;
  EXPECT_THAT(refused(file), HasSubstr("expected 1000 bytes, got the end of the file"));
  GgufTestWriter empty;
  empty.add("", std::uint32_t{1});
  EXPECT_THAT(refused(empty), HasSubstr("name of metadata key 0: expected UTF-8 text, got none"));
}

TEST(Gguf, RefusesKeysThatAreNotUtf8) {
  for (const std::string key : {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                "\xe0\x80\x80", "\x80", "\xf8\x88\x80\x80\x80"}) {
    GgufTestWriter file;
    file.add(key, std::uint32_t{1});
    EXPECT_THAT(refused(file), HasSubstr("expected UTF-8 text")) << testing::PrintToString(key);
  }
  GgufTestWriter file;
  file.add("\u00e9\u20ac\U0001f600", std::uint32_t{1});
  EXPECT_EQ(refused(file), "accepted");
}

TEST(Gguf, RefusesLengthsOfStrings) {
  for (const std::uint64_t length : {UINT64_MAX, k2To63, UINT64_MAX - 7, std::uint64_t{1000}}) {
    GgufTestWriter file;
    file.add("name", 8, raw(length) + "text");
    EXPECT_THAT(refused(file), AllOf(HasSubstr("key \"name\": expected " + std::to_string(length) +
                                               " bytes, got the end of the file after")));
  }
}

TEST(Gguf, RefusesDuplicateKeys) {
  GgufTestWriter file = valid_file();
  file.add("count", true);
  EXPECT_EQ(refused(file), "m.gguf: key \"count\": expected each key once, got it twice");
}

TEST(Gguf, RefusesUnknownTypesOfValues) {
  GgufTestWriter file;
  file.add("odd", 13, "");
  EXPECT_THAT(refused(file), HasSubstr("key \"odd\": expected a type from uint8 (0) to float64 "
                                       "(12), got unknown type 13"));
}

TEST(Gguf, RefusesValuesOfOtherTypesThanTheKeyHas) {
  const std::string bytes = valid_file().bytes();
  const GgufFile file = parse(bytes);
  EXPECT_EQ(refusal([&] { file.integer("ratio"); }),
            "m.gguf: key \"ratio\": expected an integer, got a float32");
  EXPECT_THAT(refusal([&] { file.integer("ids"); }),
              HasSubstr("expected an integer, got an array of 2 int32"));
  EXPECT_THAT(refusal([&] { file.integer("flag"); }), HasSubstr("got a bool"));
  EXPECT_THAT(refusal([&] { file.number("count"); }),
              HasSubstr("expected a float32 or float64, got a uint32"));
  EXPECT_THAT(refusal([&] { file.boolean("count"); }), HasSubstr("expected a bool"));
  EXPECT_THAT(refusal([&] { file.text("words"); }),
              HasSubstr("expected a string, got an array of 3 string"));
  EXPECT_THAT(refusal([&] { file.texts("ids"); }),
              HasSubstr("expected an array of strings, got an array of 2 int32"));
  EXPECT_THAT(refusal([&] { file.integers("words"); }), HasSubstr("expected an array of integers"));
  EXPECT_THAT(refusal([&] { file.numbers("ids"); }), HasSubstr("expected an array of float32"));
  EXPECT_THAT(refusal([&] { file.integers("count"); }), HasSubstr("got a uint32"));
  EXPECT_THAT(refusal([&] { file.array_size("count"); }), HasSubstr("expected an array"));
  GgufTestWriter odd;
  odd.add("flag", 7, "\2");
  const std::string odd_bytes = odd.bytes();
  EXPECT_THAT(refusal([&] { parse(odd_bytes).boolean("flag"); }),
              HasSubstr("expected a bool of 0 or 1, got 2"));
}

TEST(Gguf, RefusesArrays) {
  const auto array = [](std::uint32_t type, std::uint64_t count, const std::string& values) {
    GgufTestWriter file;
    file.add("list", 9, raw(type) + raw(count) + values);
    return refused(file);
  };
  EXPECT_THAT(array(77, 1, "x"), HasSubstr("key \"list\": expected a type from uint8 (0) to "
                                           "float64 (12), got unknown type 77"));
  EXPECT_THAT(array(9, 1, raw<std::uint32_t>(4)),
              HasSubstr("expected an array of plain values, got nested arrays"));
  EXPECT_THAT(
      array(4, k2To63, ""),
      HasSubstr("expected elements that lie in the file, got 9223372036854775808 of uint32"));
  EXPECT_THAT(array(0, k2To63, ""), HasSubstr("expected 9223372036854775808 bytes, got the end"));
  EXPECT_THAT(array(4, UINT64_MAX, ""), HasSubstr("elements that lie in the file"));
  EXPECT_THAT(array(8, UINT64_MAX, gguf_string("a")), HasSubstr("the end of the file"));
  EXPECT_THAT(array(8, 2, gguf_string("a") + raw(k2To63)),
              HasSubstr("expected 9223372036854775808 bytes, got the end of the file"));
}

TEST(Gguf, BoundsTheMemoryOfLists) {
  GgufTestWriter writer;
  writer.add("list", 9,
             raw<std::uint32_t>(0) + raw<std::uint64_t>(1'000'001) + std::string(1'000'001, '\0'));
  const std::string bytes = writer.bytes();
  const GgufFile file = parse(bytes);
  EXPECT_THAT(refusal([&] { file.integers("list"); }),
              HasSubstr("expected at most 1000000 elements, got an array of 1000001 uint8"));
}

TEST(Gguf, RefusesAlignments) {
  for (const std::uint32_t alignment : {0U, 1U, 4U, 48U, 131'072U, 0xffffffffU, 0x80000000U}) {
    GgufTestWriter file = valid_file();
    file.add("general.alignment", alignment);
    EXPECT_EQ(refused(file),
              "m.gguf: key \"general.alignment\": expected a power of two from 8 to 65536, got " +
                  std::to_string(alignment));
  }
  GgufTestWriter text = valid_file();
  text.add("general.alignment", "32");
  EXPECT_THAT(refused(text), HasSubstr("expected an integer, got a string"));
  GgufTestWriter negative = valid_file();
  negative.add("general.alignment", 5, raw<std::int32_t>(-32));
  EXPECT_THAT(refused(negative), HasSubstr("got -32"));
  GgufTestWriter other;
  other.alignment = 128;
  other.add("general.alignment", std::uint32_t{128});
  other.add_counting("a", {2});
  other.add_counting("b", {2});
  EXPECT_EQ(refused(other), "accepted");
}

TEST(Gguf, RefusesNumbersOfDimensions) {
  EXPECT_THAT(refused_tensor("t", {}),
              HasSubstr("tensor \"t\": expected 1 to 4 dimensions, got 0"));
  EXPECT_THAT(refused_tensor("t", {1, 1, 1, 1, 1}), HasSubstr("got 5"));
  EXPECT_EQ(refused_tensor("t", {1, 1, 1, 1}), "accepted");
  GgufTestWriter file;
  file.infos = gguf_string("t") + raw(UINT32_MAX);
  file.tensors = 1;
  EXPECT_THAT(refused(file), HasSubstr("got 4294967295"));
}

TEST(Gguf, RefusesDimensions) {
  EXPECT_THAT(refused_tensor("t", {0}),
              HasSubstr("tensor \"t\": dimension 0: expected a size from 1, and at most 2^63-1 "
                        "elements in all, got 0"));
  EXPECT_THAT(refused_tensor("t", {1, 0}), HasSubstr("dimension 1: expected a size from 1"));
  EXPECT_THAT(refused_tensor("t", {k2To63}), HasSubstr("got 9223372036854775808"));
  EXPECT_THAT(refused_tensor("t", {UINT64_MAX}), HasSubstr("got 18446744073709551615"));
  EXPECT_THAT(refused_tensor("t", {(std::uint64_t{1} << 42) + 1}),
              HasSubstr("expected 17592186044420 bytes for [4398046511105] at offset 0, got a file "
                        "with 256 bytes of tensor data"));
}

// CVE-2026-33298: a product of dimensions that wraps to a small number.
TEST(Gguf, RefusesProductsOfDimensionsThatWrap) {
  const std::uint64_t half = std::uint64_t{1} << 32;
  EXPECT_THAT(refused_tensor("t", {half, half}), HasSubstr("at most 2^63-1 elements in all"));
  EXPECT_THAT(refused_tensor("t", {half, half, half, half}), HasSubstr("dimension 1: expected"));
  EXPECT_THAT(refused_tensor("t", {3, 0x5555555555555556}), HasSubstr("at most 2^63-1 elements"));
  // 2^62 elements fit, their bytes (strides) wrap.
  EXPECT_THAT(refused_tensor("t", {std::uint64_t{1} << 31, std::uint64_t{1} << 31}),
              HasSubstr("expected fewer than 2^64 bytes, got shape [2147483648, 2147483648]"));
  EXPECT_THAT(refused_tensor("t", {std::uint64_t{1} << 62}, 8),
              HasSubstr("bytes for [4611686018427387904]"));
}

// CVE-2025-53630, CVE-2026-27940: sums of sizes that wrap. No sum is formed: each tensor must lie
// inside the file by itself.
TEST(Gguf, RefusesSumsOfSizesThatWrap) {
  GgufTestWriter file;
  const std::uint64_t quarter = std::uint64_t{1} << 60;
  for (int i = 0; i < 4; ++i) {
    file.add_info("t" + std::to_string(i), {quarter}, 0,
                  static_cast<std::uint64_t>(i) * quarter * 4);
  }
  file.data = std::string(64, '\0');
  EXPECT_THAT(refused(file), HasSubstr("bytes of tensor data"));
  GgufTestWriter end;
  end.add_info("t", {32}, 0, UINT64_MAX - 31);
  end.data = std::string(256, '\0');
  EXPECT_THAT(refused(end), HasSubstr("at offset 18446744073709551584, got a file with 256 bytes"));
}

// CVE-2026-7482: dimensions that promise more than the file holds.
TEST(Gguf, RefusesDimensionsLargerThanTheData) {
  EXPECT_EQ(refused_tensor("t", {65}),
            "m.gguf: tensor \"t\": expected 260 bytes for [65] at offset 0, got a file with 256 "
            "bytes of tensor data");
  EXPECT_EQ(refused_tensor("t", {64}), "accepted");
}

TEST(Gguf, RefusesOffsets) {
  EXPECT_THAT(refused_tensor("t", {2}, 0, 8),
              HasSubstr("tensor \"t\": expected an offset that is a multiple of 32, got 8"));
  EXPECT_THAT(refused_tensor("t", {2}, 0, 256), HasSubstr("at offset 256, got a file with 256"));
  EXPECT_THAT(refused_tensor("t", {2}, 0, std::uint64_t{1} << 40),
              HasSubstr("bytes of tensor data"));
  GgufTestWriter file;
  file.add_info("a", {32}, 0, 0);
  file.add_info("b", {2}, 0, 96);
  file.data = std::string(256, '\0');
  EXPECT_THAT(refused(file), HasSubstr("tensor \"b\": expected data of its own, got offset 96, "
                                       "inside the tensor that ends at 128"));
}

TEST(Gguf, RefusesNamesOfTensors) {
  GgufTestWriter file = valid_file();
  file.add_info("matrix", {2}, 0, 1024);
  EXPECT_EQ(refused(file),
            "m.gguf: tensor \"matrix\": expected each tensor name once, got it twice");
  EXPECT_THAT(refused_tensor(std::string(65, 'n'), {2}),
              HasSubstr("name of tensor 0: expected at most 64 bytes, got 65"));
  EXPECT_EQ(refused_tensor(std::string(64, 'n'), {2}), "accepted");
  EXPECT_THAT(refused_tensor("", {2}),
              HasSubstr("name of tensor 0: expected 1 to 64 bytes, got 0"));
}

TEST(Gguf, RefusesTypesOfTensors) {
  EXPECT_EQ(
      refused_tensor("t", {256}, 11),
      "m.gguf: tensor \"t\": expected a type of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
      "Q4_K, Q5_K, Q6_K, got Q3_K");
  EXPECT_THAT(refused_tensor("t", {256}, 4), HasSubstr("got unknown type 4"));
  EXPECT_THAT(refused_tensor("t", {256}, 4096), HasSubstr("got unknown type 4096"));
  EXPECT_THAT(refused_tensor("t", {48}, 8),
              HasSubstr("expected rows of whole blocks of 32 for Q8_0, got 48 elements"));
}

TEST(Gguf, RefusesEveryTruncation) {
  const std::string bytes = valid_file().bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_THAT(refused(bytes.substr(0, size)), HasSubstr("m.gguf: ")) << size;
  }
}

// CVE-2024-23496, TALOS-2024-1913, -1914, -1915: lengths and counts whose product or increment
// wraps, so that a small buffer was written past its end.
TEST(Gguf, RefusesTheReportedHeapOverflows) {
  GgufTestWriter names;
  names.infos = raw(UINT64_MAX) + "x";
  names.tensors = 1;
  EXPECT_THAT(refused(names), HasSubstr("name of tensor 0: expected at most 64 bytes"));
  GgufTestWriter keys = valid_file();
  keys.claimed_keys = UINT64_MAX / 48 + 1;  // times the size of an entry wraps
  EXPECT_THAT(refused(keys), HasSubstr("number of metadata keys"));
  GgufTestWriter tensors = valid_file();
  tensors.claimed_tensors = UINT64_MAX / 80 + 1;
  EXPECT_THAT(refused(tensors), HasSubstr("number of tensors"));
  GgufTestWriter list;
  list.add("list", 9, raw<std::uint32_t>(10) + raw<std::uint64_t>((UINT64_MAX >> 3) + 2));
  EXPECT_THAT(refused(list), HasSubstr("elements that lie in the file"));
}

TEST(Gguf, SurvivesRandomChanges) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string valid = valid_file().bytes();
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = valid;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % (bytes.size() - 8);
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(1 << random() % 8);
          break;
        case 2:
          bytes.replace(at, 8, raw(std::uint64_t{1} << random() % 64));
          break;
        default:
          bytes.erase(at, 1 + random() % 8);
      }
      if (bytes.size() < 16) break;
    }
    try {
      const GgufFile file = parse(bytes);
      for (const auto& [name, view] : file.tensors()) {
        for (const std::byte byte : view.bytes) accepted += std::to_integer<int>(byte) + 1;
      }
      for (const auto& entry : file.metadata()) {
        const std::string_view key = entry.first;
        refusal([&] { file.texts(key); });
        refusal([&] { file.integers(key); });
        refusal([&] { file.integer(key); });
      }
    } catch (const Error& error) {
      ASSERT_STRNE(error.what(), "");
    }
  }
  EXPECT_GT(accepted, 0);
}

// Every value that gguf-py's dequantize gives, bit for bit (any NaN for a NaN).
TEST(Gguf, ReadsRowsAsGgufPyDoes) {
  const std::filesystem::path golden =
      std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/gguf";
  const GgufFile file(golden / "types.gguf");
  const SafetensorsFile expected(golden / "types.safetensors");
  ASSERT_EQ(file.tensors().size(), 16U);
  for (const auto& [name, view] : file.tensors()) {
    const TensorView& wanted = expected.tensors().at(name);
    ASSERT_EQ(view.shape, wanted.shape);
    const StoredTensor tensor{view, name};
    const auto columns = static_cast<std::size_t>(view.shape[1]);
    std::vector<float> row(columns);
    std::vector<float> wanted_row(columns);
    for (std::int64_t i = 0; i < view.shape[0]; ++i) {
      tensor.read_row(i, row);
      std::memcpy(wanted_row.data(),
                  wanted.bytes.data() + static_cast<std::size_t>(i) * columns * 4, columns * 4);
      for (std::size_t k = 0; k < columns; ++k) {
        if (std::isnan(wanted_row[k])) {
          ASSERT_TRUE(std::isnan(row[k])) << name << " " << i << " " << k;
        } else {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(row[k]),
                    std::bit_cast<std::uint32_t>(wanted_row[k]))
              << name << " " << i << " " << k;
        }
      }
    }
  }
}

}  // namespace
}  // namespace diffllama
