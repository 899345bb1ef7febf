#include "training/data/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "training/data/test_folder.h"

namespace diffllama {
namespace {

using ::testing::ElementsAre;
using Records = std::vector<std::vector<std::string>>;

Records records_of(const TestFolder& folder, const std::string& text, char separator = ',') {
  CsvReader reader(folder.write("a.csv", text), separator);
  Records records;
  for (std::vector<std::string> fields; reader.next(fields);) records.push_back(fields);
  return records;
}

TEST(CsvReader, ReadsRfc4180) {
  const TestFolder folder;
  EXPECT_EQ(records_of(folder, "a,b\r\n1,2\r\n\"x,\"\"y\"\"\nz\",\r\n"),
            (Records{{"1", "2"}, {"x,\"y\"\nz", ""}}));
  EXPECT_EQ(records_of(folder, "\xEF\xBB\xBF\"a\",b\n\n\n1,2"), (Records{{"1", "2"}}));
  EXPECT_EQ(records_of(folder, "a\n\"\"\n \n"), (Records{{""}, {" "}}));
  EXPECT_EQ(records_of(folder, "a\tb\nsays \"hi\"\t\"two\nlines\"\n", '\t'),
            (Records{{"says \"hi\"", "two\nlines"}}));
  EXPECT_EQ(records_of(folder, "a,b\n"), Records());
  CsvReader reader(folder.write("b.csv", "x,y\n\"1\n2\",3\n4,5\n"), ',');
  EXPECT_THAT(reader.columns(), ElementsAre("x", "y"));
  std::vector<std::string> fields;
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(reader.where(), (folder / "b.csv:2").string());
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(reader.where(), (folder / "b.csv:4").string());
}

TEST(CsvReader, ReadsRecordsLargerThanItsBuffer) {
  const TestFolder folder;
  const std::string large(200'000, 'x');
  EXPECT_EQ(records_of(folder, "a,b\n\"" + large + "\",1\n" + large + ",2\n"),
            (Records{{large, "1"}, {large, "2"}}));
}

TEST(CsvReader, NamesWhatIsBrokenAndGoesOnBehindIt) {
  const TestFolder folder;
  const std::string file = (folder / "a.csv").string();
  const auto message = [&](const std::string& text) {
    return message_of([&] { records_of(folder, text); });
  };
  EXPECT_EQ(message(""), file + ":1: expected a line that names the columns, got an empty file");
  EXPECT_EQ(message("a,,b\n"), file + ":1: expected a name for each column, got an empty one");
  EXPECT_EQ(message("a,a\n"), file + ":1: expected columns with different names, got \"a\" twice");
  EXPECT_EQ(message("a,b\n1\n"), file + ":2: expected 2 fields as the first line has, got 1");
  EXPECT_EQ(message("a,b\n1,2,3\n"), file + ":2: expected 2 fields as the first line has, got 3");
  EXPECT_EQ(message("a,b\n1,\"2"),
            file + ":2: expected a quote that ends the field, got the end of the file");
  EXPECT_EQ(message("a,b\n\"1\"x,2\n"),
            file +
                ":2: expected a separator or the end of the line behind a quote that ends a "
                "field, got \"x\"");
  EXPECT_EQ(message("a,b\n1\"x,2\n"),
            file +
                ":2: expected quotes around all of a field that holds one, doubled, got "
                "\"1\\\"...\"");
  CsvReader reader(folder.write("a.csv", "a,b\n1\n\"2\"x,3\n4,5\n"), ',');
  std::vector<std::string> fields;
  EXPECT_THROW(reader.next(fields), FormatError);
  EXPECT_THROW(reader.next(fields), FormatError);
  ASSERT_TRUE(reader.next(fields));
  EXPECT_THAT(fields, ElementsAre("4", "5"));
}

}  // namespace
}  // namespace diffllama
