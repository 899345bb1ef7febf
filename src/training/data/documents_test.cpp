#include "training/data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "training/data/line_reader.h"
#include "training/data/test_folder.h"

namespace diffllama {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> texts(const std::vector<std::filesystem::path>& paths,
                               DocumentFormat format = DocumentFormat::automatic) {
  DocumentReader reader(paths, format);
  std::vector<std::string> result;
  for (Document document; reader.next(document);) result.push_back(document.text);
  EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
  return result;
}

TEST(DocumentReader, TakesATextFileAsOneDocument) {
  const TestFolder folder;
  const auto file = folder.write("a.txt", "one\r\n\n\xFF two\n");
  EXPECT_THAT(texts({file}), ElementsAre("one\r\n\n\xFF two\n"));
  EXPECT_THAT(texts({folder.write("empty", "")}), ElementsAre(""));
}

TEST(DocumentReader, SplitsTextAtBlankLinesWhenAsked) {
  const TestFolder folder;
  const auto file = folder.write("a.txt", "\n\none\r\ntwo\n \t\n\nthree");
  DocumentReader reader({file, folder.write("empty", "\n"), folder.write("b", "four\n")},
                        DocumentFormat::text, TextDocuments::blank_line);
  std::vector<std::string> texts, places;
  for (Document document; reader.next(document);) {
    texts.push_back(document.text);
    places.push_back(document.where);
  }
  EXPECT_THAT(texts, ElementsAre("one\ntwo\n", "three\n", "four\n"));
  EXPECT_EQ(places[1], file.string() + ":7");
  EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
}

TEST(DocumentReader, TakesEachLineOfJsonLines) {
  const TestFolder folder;
  const auto file = folder.write(
      "a.jsonl", "\xEF\xBB\xBF{\"text\": \"one\"}\r\n\n \t\n{\"source\": 3, \"text\": \"tw\\no\"}");
  EXPECT_THAT(texts({file}), ElementsAre("one", "tw\no"));
  DocumentReader reader({file});
  Document document;
  ASSERT_TRUE(reader.next(document));
  EXPECT_EQ(document.where, file.string() + ":1");
  ASSERT_TRUE(reader.next(document));
  EXPECT_EQ(document.where, file.string() + ":4");
  EXPECT_THAT(texts({folder.write("b.jsonl", "")}), ElementsAre());
}

TEST(DocumentReader, ReadsWhatIsNotUtf8AsReplacement) {
  const TestFolder folder;
  EXPECT_THAT(texts({folder.write("a.jsonl", "{\"text\": \"a\xFF\xC3z\"}")}),
              ElementsAre("a\xEF\xBF\xBD\xEF\xBF\xBDz"));
}

TEST(DocumentReader, ChoosesByNameUnlessTold) {
  const TestFolder folder;
  const std::string line = R"({"text": "x"})";
  EXPECT_THAT(texts({folder.write("a.json", line), folder.write("b.ndjson", line),
                     folder.write("c.txt", line)}),
              ElementsAre("x", "x", line));
  EXPECT_THAT(texts({folder / "a.json"}, DocumentFormat::text), ElementsAre(line));
  EXPECT_THAT(texts({folder / "c.txt"}, DocumentFormat::json_lines), ElementsAre("x"));
}

TEST(DocumentReader, TakesTheFilesOfADirectoryByName) {
  const TestFolder folder;
  folder.write("b.txt", "second");
  folder.write("a.jsonl", R"({"text": "first"})");
  folder.write("c.md", "not a text");
  EXPECT_THAT(texts({folder.path()}), ElementsAre("first", "second"));
  std::filesystem::create_directory(folder / "none");
  EXPECT_THAT(message_of<IoError>([&] { DocumentReader({folder / "none"}); }),
              HasSubstr("none: expected .txt, .jsonl, .ndjson or .json files, got none"));
}

TEST(DocumentReader, NamesTheBrokenLine) {
  const TestFolder folder;
  const auto expect = [&](const std::string& line, const std::string& message) {
    const auto file = folder.write("a.jsonl", "{\"text\": \"one\"}\n\n" + line + "\n");
    EXPECT_THAT(message_of([&] { texts({file}); }),
                AllOf(StartsWith(file.string() + ":3: "), HasSubstr(message)))
        << line;
  };
  expect("{\"text\": ", "expected JSON");
  expect("[1]", "expected an object, got [1]");
  expect(R"({"text": "a"} {"text": "b"})", "expected JSON");
  expect(R"({"txt": "a"})", R"(expected an object with a string "text", got {"txt":"a"})");
  expect("{\"text\": 7}", "expected an object with a string \"text\", got 7");
  expect(R"({"text": "a", "text": "b"})", "twice");
  expect(R"({"text": "\ud800"})", "expected JSON");
  expect(std::string(100'000, '['), "levels of nesting");
  expect(std::string("{\"text\": \"a\0b\"}", 15), "expected JSON");
}

TEST(DocumentReader, SaysWhatCannotBeRead) {
  const TestFolder folder;
  EXPECT_THAT(message_of<IoError>([&] { DocumentReader({folder / "absent"}); }),
              HasSubstr("absent: expected a file, got none"));
  EXPECT_THAT(message_of<IoError>([&] { LineReader{folder.path()}; }),
              HasSubstr("expected a file, got a directory"));
  EXPECT_THAT(message_of<IoError>([&] { LineReader{folder / "absent"}; }),
              HasSubstr("cannot open: No such file"));
}

}  // namespace
}  // namespace diffllama
