#include "training/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

TEST(EventFile, ChecksumIsCastagnolis) {
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);            // the check value of CRC-32C
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
}

std::uint64_t little_endian(const std::string& bytes, std::size_t at, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = count; i-- > 0;) {
    value = value << 8 | static_cast<std::uint8_t>(bytes.at(at + i));
  }
  return value;
}

// The messages of a file, whose lengths and checksums must be right.
std::vector<std::string> messages(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const auto mask = [](std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; };
  std::vector<std::string> found;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = little_endian(bytes, at, 8);
    EXPECT_EQ(little_endian(bytes, at + 8, 4), mask(crc32c(bytes.substr(at, 8))));
    found.push_back(bytes.substr(at + 12, size));
    EXPECT_EQ(little_endian(bytes, at + 12 + size, 4), mask(crc32c(found.back())));
    at += 16 + size;
  }
  return found;
}

TEST(EventFile, WritesEventsOfTensorBoard) {
  const fs::path directory = fs::temp_directory_path() / "diffllama_event_file_test";
  fs::remove_all(directory);
  EventFile file(directory / "run");
  file.add_scalar("loss", 0.5, 300);
  file.add_text("sample", "To be", 1);
  EXPECT_THAT(file.path().filename().string(), testing::StartsWith("events.out.tfevents."));
  const std::vector<std::string> events = messages(file.path());
  ASSERT_EQ(events.size(), 3U);
  // Event: wall_time (9 bytes), step, then version, summary of a value {tag, simple_value}, ...
  EXPECT_EQ(events[0].substr(9), std::string("\x10\0\x1a\rbrain.Event:2", 17));
  EXPECT_EQ(events[1].substr(9),
            std::string("\x10\xAC\x02\x2A\x0D\x0A\x0B\x0A\x04loss\x15\0\0\0\x3F", 18));
  EXPECT_THAT(events[2], testing::HasSubstr("sample/text_summary"));
  EXPECT_THAT(events[2],
              testing::HasSubstr(std::string("\x08\x07\x12\x04\x12\x02\x08\x01\x42\x05To be", 15)));
  fs::remove_all(directory);
}

TEST(EventFile, SaysWhatItCannotWrite) { EXPECT_THROW(EventFile("/proc/none"), IoError); }

}  // namespace
}  // namespace diffllama
