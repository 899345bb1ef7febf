#include "training/data/sequence_classification_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "training/data/test_folder.h"

namespace diffllama {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Ids = std::vector<std::int64_t>;

Ids ids_of(const std::string& text, bool special = true) {
  return tiny_tokenizer().encode(text, special).ids;
}

class SequenceClassificationTest : public testing::Test {
 protected:
  SequenceClassificationTest() { options_.labels = {"ABBR", "DESC", "ENTY"}; }
  SequenceClassificationSource make(const std::string& lines) {
    const auto file = folder_.write("train.jsonl", lines);
    return {{file}, tiny_tokenizer(), options_, Parallel(2), bad_rows_};
  }
  std::string message(const std::string& lines) {
    return message_of<Error>([&] { make(lines); });
  }
  std::string file() const { return (folder_ / "train.jsonl").string(); }
  LabelSummary collect(const std::string& lines) {
    return collect_labels({folder_.write("labels.jsonl", lines)}, {}, {}, bad_rows_);
  }
  // Of a table whose labels are these.
  LabelSummary collect_table(const std::vector<std::string>& labels,
                             const LabelOptions& options = {}) {
    return collect_labels({table(labels)}, {}, options, bad_rows_);
  }
  std::filesystem::path table(const std::vector<std::string>& labels) {
    std::string rows = "text,label\n";
    for (const std::string& label : labels) rows += "a," + label + "\n";
    return folder_.write("table.csv", rows);
  }
  // The classes of a table's rows.
  Ids classes(const std::vector<std::string>& labels) {
    const SequenceClassificationSource source({table(labels)}, tiny_tokenizer(), options_,
                                              Parallel(1), bad_rows_);
    Ids all(labels.size());
    std::iota(all.begin(), all.end(), 0);
    const ForwardInputs inputs = source.collate(all);
    return {inputs.labels->i64().begin(), inputs.labels->i64().end()};
  }

  TestFolder folder_;
  SequenceClassificationOptions options_;
  BadRows bad_rows_;
};

TEST_F(SequenceClassificationTest, PacksTextsInsteadOfPaddingThem) {
  const auto source = make(
      "{\"text\": \"What is light ?\", \"label\": \"DESC\"}\n\n"
      "{\"sentence\": \"Who ?\", \"label\": 2, \"source\": null}\n");
  ASSERT_EQ(source.size(), 2);
  EXPECT_EQ(source.problem_type(), ProblemType::single_label_classification);
  const Ids longer = ids_of("What is light ?");
  const Ids shorter = ids_of("Who ?");
  ASSERT_EQ(longer[0], 1);
  ASSERT_GT(longer.size(), shorter.size());
  EXPECT_EQ(source.tokens(1), static_cast<std::int64_t>(shorter.size()));

  const ForwardInputs inputs = source.collate(Ids{1, 0, 1});
  Ids ids, positions;
  for (const Ids* text : {&shorter, &longer, &shorter}) {
    ids.insert(ids.end(), text->begin(), text->end());
    for (std::int64_t t = 0; t < std::ssize(*text); ++t) positions.push_back(t);
  }
  ASSERT_EQ(inputs.input_ids->shape(), (Shape{1, std::ssize(ids)}));
  EXPECT_THAT(inputs.input_ids->i64(), testing::ElementsAreArray(ids));
  ASSERT_EQ(inputs.position_ids->shape(), inputs.input_ids->shape());
  EXPECT_THAT(inputs.position_ids->i64(), testing::ElementsAreArray(positions));
  EXPECT_FALSE(inputs.attention_mask.has_value());
  EXPECT_EQ(inputs.labels->shape(), (Shape{3}));
  EXPECT_THAT(inputs.labels->i64(), ElementsAre(2, 1, 2));
}

TEST_F(SequenceClassificationTest, TruncatesTextsAndTheLongerOfAPair) {
  const Ids text = ids_of("the earth was without form and void", false);
  const Ids pair = ids_of("light and day", false);
  ASSERT_GE(text.size(), 7U);
  ASSERT_GE(pair.size(), 3U);
  const auto expect = [&](std::int64_t max_length, std::size_t of_text, std::size_t of_pair) {
    options_.max_length = max_length;
    const auto source = make(
        "{\"text\": \"the earth was without form and void\", \"text_pair\": \"light and day\", "
        "\"label\": 0}\n"
        "{\"text_pair\": \"the earth was without form and void\", \"text\": \"light and day\", "
        "\"label\": 0}\n");
    Ids first, second;  // this tokenizer puts no BOS before a pair
    first.insert(first.end(), text.begin(), text.begin() + static_cast<std::ptrdiff_t>(of_text));
    first.insert(first.end(), pair.begin(), pair.begin() + static_cast<std::ptrdiff_t>(of_pair));
    second.insert(second.end(), pair.begin(), pair.begin() + static_cast<std::ptrdiff_t>(of_pair));
    second.insert(second.end(), text.begin(), text.begin() + static_cast<std::ptrdiff_t>(of_text));
    EXPECT_THAT(source.collate(Ids{0}).input_ids->i64(), testing::ElementsAreArray(first))
        << max_length;
    if (of_text != of_pair) {
      EXPECT_THAT(source.collate(Ids{1}).input_ids->i64(), testing::ElementsAreArray(second))
          << max_length;
    }
  };
  expect(100, text.size(), pair.size());
  expect(7, 4, 3);
  expect(5, 3, 2);
  expect(4, 2, 2);
  options_.max_length = 3;
  const auto alone = make("{\"text\": \"the earth was without form\", \"label\": 0}\n");
  EXPECT_THAT(alone.collate(Ids{0}).input_ids->i64(), ElementsAre(1, text[0], text[1]));
}

TEST_F(SequenceClassificationTest, RegressionTakesNumbers) {
  options_.labels = {"LABEL_0"};
  const auto source = make(
      "{\"text\": \"a\", \"label\": 2.5}\n{\"text\": \"b\", \"label\": -1}\n"
      "{\"text\": \"c\", \"label\": [4]}\n");
  EXPECT_EQ(source.problem_type(), ProblemType::regression);
  const ForwardInputs inputs = source.collate(Ids{0, 1, 2});
  EXPECT_EQ(inputs.labels->shape(), (Shape{3}));
  EXPECT_THAT(inputs.labels->f32(), ElementsAre(2.5F, -1.0F, 4.0F));
  EXPECT_THAT(message("{\"text\": \"a\", \"label\": \"x\"}"),
              HasSubstr(":1: label: expected a number, got \"x\""));
  EXPECT_THAT(message("{\"text\": \"a\", \"label\": 1e39}"), HasSubstr("fits float32"));
  EXPECT_THAT(message("{\"text\": \"a\", \"label\": NaN}"), HasSubstr(":1: expected JSON"));

  options_.labels = {"x", "y"};
  options_.problem_type = ProblemType::regression;
  EXPECT_THAT(make("{\"text\": \"a\", \"label\": [1, 2.5]}").collate(Ids{0}).labels->f32(),
              ElementsAre(1.0F, 2.5F));
  EXPECT_THAT(message("{\"text\": \"a\", \"label\": 1.5}"),
              HasSubstr("expected a list of 2 numbers, got 1.5"));
}

TEST_F(SequenceClassificationTest, SeveralLabelsTakeNamesClassesAndNumbers) {
  const auto source = make(
      "{\"text\": \"a\", \"label\": [\"ENTY\", \"ABBR\"]}\n{\"text\": \"b\", \"label\": [1]}\n"
      "{\"text\": \"c\", \"label\": []}\n{\"text\": \"d\", \"label\": [0.0, 0.5, 1]}\n");
  EXPECT_EQ(source.problem_type(), ProblemType::multi_label_classification);
  const ForwardInputs inputs = source.collate(Ids{0, 1, 2, 3});
  EXPECT_EQ(inputs.labels->shape(), (Shape{4, 3}));
  EXPECT_THAT(inputs.labels->f32(), ElementsAre(1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0.5F, 1));
  const std::string before = "{\"text\": \"a\", \"label\": []}\n";
  EXPECT_THAT(message(before + "{\"text\": \"a\", \"label\": [1, 1]}"),
              HasSubstr(":2: label: expected each class once, got [1,1]"));
  EXPECT_THAT(message(before + "{\"text\": \"a\", \"label\": 1}"),
              HasSubstr(":2: label: expected a list of classes, got 1"));
  EXPECT_THAT(message(before + "{\"text\": \"a\", \"label\": [0.5]}"),
              HasSubstr("expected a list of 3 numbers, got [0.5]"));
  EXPECT_THAT(message(before + "{\"text\": \"a\", \"label\": [0.5, 0, 2]}"),
              HasSubstr("expected numbers of 0..1, or model.problem_type=regression for numbers to "
                        "predict, got 2"));
}

TEST_F(SequenceClassificationTest, ListsThatMayBeMultiHotAreRefused) {
  options_.problem_type = ProblemType::multi_label_classification;
  const auto line = [](const std::string& label) {
    return R"({"text": "a", "label": )" + label + "}\n";
  };
  const std::string refusal =
      ":2: label: expected a recipe that says with data.label_lists whether integers are classes "
      "or multi_hot, a 0 or 1 for each class, got ";
  EXPECT_EQ(message(line("[2]") + line("[0,1,1]")), file() + refusal + "[0,1,1]");
  options_.labels = {"a", "b"};
  EXPECT_EQ(message(line("[]") + line("[0,1]")), file() + refusal + "[0,1]");
  options_.lists = LabelLists::classes;
  EXPECT_THAT(make(line("[0,1]") + line("[1]")).collate(Ids{0, 1}).labels->f32(),
              ElementsAre(1, 1, 0, 1));
  options_.lists = LabelLists::multi_hot;
  EXPECT_THAT(make(line("[0,1]") + line("[1,0]")).collate(Ids{0, 1}).labels->f32(),
              ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(message(line("[0,2]")), HasSubstr("expected numbers of 0..1"));
  EXPECT_THAT(message(line("[1]")), HasSubstr("expected a list of 2 numbers, got [1]"));
  const LabelSummary summary =
      collect_labels({folder_.write("hot.jsonl", line("[0,0,1]") + line("[1,0,1]"))}, {},
                     {.lists = LabelLists::multi_hot}, bad_rows_);
  EXPECT_EQ(summary.names.size(), 3U);
  EXPECT_EQ(summary.problem_type, ProblemType::multi_label_classification);
}

TEST_F(SequenceClassificationTest, NamesTheLabelThatIsOutOfRange) {
  const std::string before = "{\"text\": \"a\", \"label\": 0}\n\n";
  const std::string expected =
      file() + R"(:3: label: expected 0..2 or one of "ABBR", "DESC", "ENTY", got )";
  for (const char* label :
       {"3", "-1", "18446744073709551615", "1.0", "\"HUM\"", "null", "[1]", "{}", "true"}) {
    EXPECT_EQ(message(before + "{\"text\": \"a\", \"label\": " + label + "}"), expected + label);
  }
  options_.labels.resize(100, "many");
  EXPECT_THAT(
      message("{\"text\": \"a\", \"label\": 100}"),
      AllOf(HasSubstr("0..99 or one of"), HasSubstr("\"many\", ... (100 in all), got 100")));
}

TEST_F(SequenceClassificationTest, NamesTheLineThatIsBroken) {
  EXPECT_THAT(message("{\"text\": \"a\"}"),
              StartsWith(file() + ":1: expected an object with a \"label\", got"));
  EXPECT_THAT(message("{\"label\": 1}"),
              StartsWith(file() + ":1: expected an object with a string \"text\", got"));
  EXPECT_THAT(message("{\"text\": \"a\", \"text_pair\": 1, \"label\": 1}"),
              StartsWith(file() + ":1: expected an object with a string \"text_pair\", got 1"));
  EXPECT_THAT(message("{\"text\": \"a\", \"label\": 1"), StartsWith(file() + ":1: expected JSON"));
  EXPECT_EQ(message("\n"), file() + ": expected examples, got none");
  options_.max_length = 1;
  EXPECT_EQ(message(""), "[data.sequence_length] expected more than the 1 special tokens, got 1");
  options_.labels.clear();
  EXPECT_EQ(message(""), "[labels] expected labels, got none");
}

TEST_F(SequenceClassificationTest, TextsThatAreNotUtf8AreRead) {
  const auto source = make("{\"text\": \"a\xFFz\", \"label\": 1}");
  EXPECT_THAT(source.collate(Ids{0}).input_ids->i64(),
              testing::ElementsAreArray(ids_of("a\xEF\xBF\xBDz")));
}

TEST_F(SequenceClassificationTest, LabelsAreCollected) {
  const auto line = [](const std::string& label) {
    return R"({"text": "a", "label": )" + label + "}\n";
  };
  LabelSummary summary = collect(line("\"b\"") + line("\"a\"") + line("\"b\""));
  EXPECT_THAT(summary.names, ElementsAre("a", "b"));
  EXPECT_EQ(summary.problem_type, ProblemType::single_label_classification);
  summary = collect(line("2") + line("0"));
  EXPECT_THAT(summary.names, ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_EQ(summary.problem_type, ProblemType::single_label_classification);
  summary = collect(line("-2") + line("0.5"));
  EXPECT_THAT(summary.names, ElementsAre("LABEL_0"));
  EXPECT_EQ(summary.problem_type, ProblemType::regression);
  summary = collect(line("[\"b\"]") + line("[]") + line(R"(["c", "a"])"));
  EXPECT_THAT(summary.names, ElementsAre("a", "b", "c"));
  EXPECT_EQ(summary.problem_type, ProblemType::multi_label_classification);
  summary = collect(line("[3]") + line("[0, 1]"));
  EXPECT_EQ(summary.names.size(), 4U);
  summary = collect(line("[0.0, 1.0]"));
  EXPECT_EQ(summary.names.size(), 2U);
  EXPECT_EQ(summary.problem_type, ProblemType::multi_label_classification);

  const auto refusal_of = [&](const std::string& lines) {
    return message_of([&] { collect(lines); });
  };
  const std::string where = (folder_ / "labels.jsonl").string();
  EXPECT_EQ(refusal_of(line("1") + line("\"a\"")),
            where + ":2: label: expected a number as before, got \"a\"");
  EXPECT_EQ(refusal_of(line("\"a\"") + line("1")),
            where + ":2: label: expected a string as before, got 1");
  EXPECT_EQ(refusal_of(line("[1]") + line("1")),
            where + ":2: label: expected a list as before, got 1");
  EXPECT_EQ(refusal_of(line("1") + line("-1") + line("2")),
            where + ":2: label: expected a class of 0..999999, got -1");
  EXPECT_THAT(refusal_of(line("4000000000")), HasSubstr("expected a class of 0..999999"));
  EXPECT_THAT(refusal_of(line("null")), HasSubstr("expected an integer, a number, a string or"));
  EXPECT_EQ(refusal_of(""), where + ": expected lines with labels, got none");
}

TEST_F(SequenceClassificationTest, ReadsTablesByTheirColumns) {
  options_.columns = {.text = "question", .text_pair = "more", .label = "kind"};
  const std::string csv =
      "kind,more,question\r\nDESC,,\"What, and \"\"why\"\"?\"\r\n\nENTY,b,\"two\nlines\"\n";
  const auto file = folder_.write("train.csv", csv);
  const SequenceClassificationSource source({file}, tiny_tokenizer(), options_, Parallel(2),
                                            bad_rows_);
  ASSERT_EQ(source.size(), 2);
  EXPECT_THAT(source.collate(Ids{0, 1}).labels->i64(), ElementsAre(1, 2));
  const Ids pair = tiny_tokenizer().encode_pair("two\nlines", "b").ids;
  EXPECT_EQ(source.tokens(1), std::ssize(pair));
  const LabelSummary numbers = collect_labels(
      {folder_.write("n.tsv", "text\tlabel\na \"b\" c\t2\nd\t0\n")}, {}, {}, bad_rows_);
  EXPECT_THAT(numbers.names, ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  const LabelSummary regression =
      collect_labels({folder_.write("r.csv", "text,label\na,0.5\nb,2\n")}, {}, {}, bad_rows_);
  EXPECT_EQ(regression.problem_type, ProblemType::regression);
}

TEST_F(SequenceClassificationTest, ANameInATableWinsOverANumber) {
  options_.labels = {"1", "2", "3"};
  EXPECT_THAT(classes({"1", "3", "2"}), ElementsAre(0, 2, 1));
  EXPECT_EQ(
      message_of([&] {
        classes({"1", "0"});
      }),
      (folder_ / "table.csv").string() + R"(:3: label: expected one of "1", "2", "3", got "0")");
  options_.labels = {"2019", "2020"};
  EXPECT_THAT(classes({"2020", "2019"}), ElementsAre(1, 0));
  options_.labels = {"007", "abc"};
  EXPECT_THAT(classes({"007", "abc", "1"}), ElementsAre(0, 1, 1)) << "1: a number, no name is one";
  EXPECT_THAT(message_of([&] { classes({"7"}); }), HasSubstr("expected 0..1 or one of"));
  options_.labels = {"LABEL_0", "LABEL_1"};
  EXPECT_THAT(classes({"1", "0"}), ElementsAre(1, 0));
  EXPECT_THAT(message_of([&] { classes({"01"}); }), HasSubstr("got \"01\""));
  options_.labels = {"1", "2", "3"};
  EXPECT_THAT(make("{\"text\": \"a\", \"label\": 1}").collate(Ids{0}).labels->i64(), ElementsAre(1))
      << "an integer of JSON is a class's number";
}

TEST_F(SequenceClassificationTest, LabelsOfTablesAreNumbersOnlyWhereTheyCount) {
  using Names = std::vector<std::string>;
  const auto expect = [&](const Names& labels, ProblemType problem, const Names& names,
                          const std::string& doubt, const LabelOptions& options = {}) {
    const LabelSummary summary = collect_table(labels, options);
    const std::string& first = labels[0];
    EXPECT_EQ(summary.problem_type, problem) << first;
    EXPECT_EQ(summary.names, names) << first;
    EXPECT_EQ(summary.doubt.empty(), doubt.empty()) << first << ": " << summary.doubt;
    EXPECT_THAT(summary.doubt, HasSubstr(doubt)) << first;
  };
  constexpr auto kSingle = ProblemType::single_label_classification;
  constexpr auto kRegression = ProblemType::regression;
  const std::string as_names = "taken for names of classes";
  expect({"0", "1", "1"}, kSingle, {"LABEL_0", "LABEL_1"}, "");
  expect({"2", "0"}, kSingle, {"LABEL_0", "LABEL_1", "LABEL_2"},
         "of the classes 0..2 that labels name, 1 have no row");
  expect({"1", "2", "3"}, kSingle, {"1", "2", "3"}, as_names);
  expect({"2019", "2020"}, kSingle, {"2019", "2020"}, as_names);
  expect({"-1", "1", "0"}, kSingle, {"-1", "0", "1"}, as_names);
  expect({"90210", "01234", "0"}, kSingle, {"0", "01234", "90210"}, "");
  expect({"90210", "0"}, kSingle, {"0", "90210"}, as_names);
  expect({"007", "abc"}, kSingle, {"007", "abc"}, "");
  expect({"99999999999999999999", "0"}, kSingle, {"0", "99999999999999999999"}, as_names);
  expect({"1.0", "1.1", "2"}, kRegression, {"LABEL_0"}, "numbers to predict");
  expect({"1.0", "1.1", "beta"}, kSingle, {"1.0", "1.1", "beta"}, "");
  expect({"1.0", "1.1", "2"}, kSingle, {"1.0", "1.1", "2"}, "", {.problem_type = kSingle});
  expect({"1.0", "1.1"}, kSingle, {"1.0", "1.1"}, "", {.names = {"1.0", "1.1"}});
  expect({"1", "4", "2"}, kRegression, {"LABEL_0"}, "", {.problem_type = kRegression});
  options_.labels = {"LABEL_0"};
  const SequenceClassificationSource source({table({"1", "4.5", "-2e1"})}, tiny_tokenizer(),
                                            options_, Parallel(1), bad_rows_);
  EXPECT_THAT(source.collate(Ids{0, 1, 2}).labels->f32(), ElementsAre(1, 4.5F, -20));
  EXPECT_THAT(message_of([&] {
                classes({"1", "01"});
              }),
              HasSubstr(":3: label: expected a number, got \"01\""));
  EXPECT_THAT(message_of([&] {
                collect_labels({table({"1", "2"}),
                                folder_.write("more.jsonl", "{\"text\": \"a\", \"label\": 1}")},
                               {}, {}, bad_rows_);
              }),
              HasSubstr("table.csv:2: label: expected a number as before, got \"1\""));
}

TEST_F(SequenceClassificationTest, SkipsBadRowsAsFarAsItMay) {
  const std::string lines =
      "{\"text\": \"a\", \"label\": 0}\n[]\n{\"text\": \"b\", \"label\": 7}\n"
      "{\"text\": \"c\", \"label\": 1}\n";
  bad_rows_ = BadRows(2);
  EXPECT_EQ(make(lines).size(), 2);
  EXPECT_EQ(bad_rows_.count(), 2);
  EXPECT_EQ(bad_rows_.first(), file() + ":2: expected an object, got []");
  bad_rows_ = BadRows(1);
  EXPECT_THAT(message(lines), AllOf(StartsWith(file() + ":3: label: "),
                                    HasSubstr("1 bad rows were skipped before")));
}

}  // namespace
}  // namespace diffllama
