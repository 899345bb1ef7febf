#include "training/data/data_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "training/data/line_reader.h"
#include "training/data/rows.h"
#include "training/data/test_folder.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;

std::string gzip(const std::string& text) {
  constexpr int kGzip = 16;
  z_stream stream{};
  EXPECT_EQ(
      deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + kGzip, 8, Z_DEFAULT_STRATEGY),
      Z_OK);
  std::string packed(text.size() + 1000, '\0');
  std::string input = text;
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

std::string zstd(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  return packed;
}

std::string numbers() {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i) + (i % 3 == 0 ? "\r\n" : "\n");
  return text;
}

TEST(DataFile, UnpacksWhatTheFirstBytesName) {
  const TestFolder folder;
  const std::string text = numbers();
  EXPECT_EQ(read_data_file(folder.write("a.txt", text)), text);
  EXPECT_EQ(read_data_file(folder.write("a.gz", gzip(text))), text);
  EXPECT_EQ(read_data_file(folder.write("a.zst", zstd(text))), text);
  EXPECT_EQ(read_data_file(folder.write("two.gz", gzip(text) + gzip("end"))), text + "end");
  EXPECT_EQ(read_data_file(folder.write("two.zst", zstd("begin") + zstd(text))), "begin" + text);
  EXPECT_EQ(read_data_file(folder.write("none.gz", gzip(""))), "");
  EXPECT_EQ(read_data_file(folder.write("none.zst", zstd(""))), "");
  EXPECT_EQ(read_data_file(folder.write("none", "")), "");
  EXPECT_EQ(unpacked_name("a/b.csv.gz"), "a/b.csv");
  EXPECT_EQ(unpacked_name("a/b.csv"), "a/b.csv");
}

TEST(DataFile, RefusesPackedDataThatIsBroken) {
  const TestFolder folder;
  for (const std::string& packed : {gzip(numbers()), zstd(numbers())}) {
    const std::string kind = packed[0] == '\x1F' ? "gzip" : "zstd";
    EXPECT_THAT(message_of<IoError>([&] {
                  read_data_file(folder.write("cut", packed.substr(0, packed.size() - 9)));
                }),
                HasSubstr("cut: expected " + kind + " data, got a file that is cut short"));
    std::string broken = packed;
    // A bit of the checksum (gzip), a reserved one of the frame's header (zstd).
    const std::size_t at = kind == "gzip" ? packed.size() - 6 : 4;
    broken[at] = static_cast<char>(broken[at] ^ 8);
    EXPECT_THAT(message_of<IoError>([&] { read_data_file(folder.write("broken", broken)); }),
                HasSubstr("broken: expected " + kind + " data, got "));
  }
}

TEST(LineReader, CountsTheLinesOfPackedFiles) {
  const TestFolder folder;
  LineReader lines(folder.write("a.gz", gzip(numbers() + "last")));
  std::string line;
  int count = 0;
  for (; lines.next(line) && count < 50'000; ++count) ASSERT_EQ(line, std::to_string(count));
  EXPECT_EQ(line, "last");
  EXPECT_EQ(lines.where(), (folder / "a.gz:50001").string());
  EXPECT_FALSE(lines.next(line));
  EXPECT_EQ(lines.bytes_read(), std::filesystem::file_size(folder / "a.gz"));
}

// What a small packed file may unpack to.
TEST(DataFile, ALineThatIsTooLongIsNamedAndPassedOver) {
  const TestFolder folder;
  const std::string path = (folder / "bomb.jsonl.gz").string();
  gzFile file = gzopen(path.c_str(), "wb1");
  const std::string part(std::size_t{1} << 20, 'a');
  gzputs(file, "{\"text\": \"one\"}\n{\"text\": \"");
  for (std::size_t bytes = 0; bytes <= kLongestRow; bytes += part.size())
    gzputs(file, part.c_str());
  gzputs(file, "\"}\n{\"text\": \"three\"}\n");
  gzclose(file);
  const auto rows = RowReader::open(path);
  DataRow row;
  ASSERT_TRUE(rows->next(row));
  EXPECT_EQ(message_of([&] { rows->next(row); }),
            path + ":2: expected a line of at most 67108864 bytes, got a longer one");
  ASSERT_TRUE(rows->next(row));
  EXPECT_EQ(row.fields["text"], "three");
  EXPECT_EQ(row.where, path + ":3");
  EXPECT_FALSE(rows->next(row));

  const std::string table = (folder / "bomb.csv.gz").string();
  file = gzopen(table.c_str(), "wb1");
  gzputs(file, "text\n");
  for (std::size_t bytes = 0; bytes <= kLongestRow; bytes += part.size())
    gzputs(file, part.c_str());
  gzputs(file, "\nthree\n");
  gzclose(file);
  const auto records = RowReader::open(table);
  EXPECT_EQ(message_of([&] { records->next(row); }),
            table + ":2: expected a record of at most 67108864 bytes, got a longer one");
  ASSERT_TRUE(records->next(row));
  EXPECT_EQ(row.fields["text"], "three");
}

}  // namespace
}  // namespace diffllama
