#include "training/data/question_answering_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "training/data/context_windows.h"
#include "training/data/test_folder.h"

namespace diffllama {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Ids = std::vector<std::int64_t>;

// é takes two bytes and one character, 𝄞 four.
const std::string kContext =
    "Caf\xC3\xA9 \xF0\x9D\x84\x9E was built by the king of Israel in the land of Judah, and the "
    "people of the land came unto him from the east and from the west.";

// Braces around one json would be a copy of it.
template <class... Item>
json list(const Item&... items) {
  json result = json::array();
  (result.push_back(items), ...);
  return result;
}

json question(const std::string& text, const json& answers) {
  return {{"id", "q" + text}, {"question", text}, {"answers", answers}};
}

json document(const json& qas, const std::string& context = kContext) {
  return {{"version", "1.1"},
          {"data", {{{"title", "t"}, {"paragraphs", {{{"context", context}, {"qas", qas}}}}}}}};
}

json answer(const std::string& text, std::size_t start) {
  return {{"text", text}, {"answer_start", start}};
}

// "the king of Israel": after 7 characters "Café 𝄞 ", then "was built by ".
constexpr std::size_t kKing = 20;

class QuestionAnsweringTest : public testing::Test {
 protected:
  QuestionAnsweringSource make(const json& content) {
    const auto file = folder_.write("train.json", content.dump());
    return {{file}, tiny_tokenizer(), options_, Parallel(2), bad_rows_};
  }
  std::string message(const json& content) {
    return message_of<Error>([&] { make(content); });
  }
  std::string file() const { return (folder_ / "train.json").string(); }
  static Ids row(const QuestionAnsweringSource& source, std::int64_t example) {
    const ForwardInputs inputs = source.collate(Ids{example});
    return {inputs.input_ids->i64().begin(), inputs.input_ids->i64().end()};
  }
  static std::string answered(const QuestionAnsweringSource& source, std::int64_t example) {
    const ForwardInputs inputs = source.collate(Ids{example});
    const auto start = inputs.start_positions->i64()[0];
    const auto end = inputs.end_positions->i64()[0];
    const Ids ids = row(source, example);
    return tiny_tokenizer().decode(std::span(ids).subspan(
        static_cast<std::size_t>(start), static_cast<std::size_t>(end - start + 1)));
  }

  TestFolder folder_;
  QuestionAnsweringOptions options_;
  BadRows bad_rows_;
};

TEST_F(QuestionAnsweringTest, ReadsCharactersAsBytes) {
  const auto file =
      folder_.write("a.json", document(list(question("Who?", list(answer("the king", kKing),
                                                                  answer("\xF0\x9D\x84\x9E", 5))),
                                            question("Why?", json::array())))
                                  .dump());
  const std::vector<SquadQuestion> questions = read_squad(file, {}, bad_rows_);
  ASSERT_EQ(questions.size(), 2U);
  EXPECT_EQ(questions[0].id, "qWho?");
  EXPECT_EQ(*questions[0].context, kContext);
  ASSERT_EQ(questions[0].answers.size(), 2U);
  const auto text = [&](const SquadAnswer& a) { return kContext.substr(a.begin, a.end - a.begin); };
  EXPECT_EQ(text(questions[0].answers[0]), "the king");
  EXPECT_EQ(text(questions[0].answers[1]), "\xF0\x9D\x84\x9E");
  EXPECT_TRUE(questions[1].answers.empty());
  EXPECT_EQ(questions[1].where, file.string() + ": data[0].paragraphs[0].qas[1]");
}

TEST_F(QuestionAnsweringTest, PutsTheQuestionFirst) {
  const auto source =
      make(document(list(question("  Who built it?", list(answer("the king of Israel", kKing))))));
  ASSERT_EQ(source.size(), 1);
  EXPECT_EQ(row(source, 0), tiny_tokenizer().encode_pair("Who built it?", kContext).ids);
  EXPECT_EQ(answered(source, 0), " the king of Israel");
}

TEST(QuestionPair, PutsTheContextFirstWhereTheTokenizerPadsOnTheLeft) {
  const TestFolder folder;
  folder.write("tokenizer_config.json", R"({"padding_side": "left"})");
  std::filesystem::copy_file(tiny_directory() / "tokenizer.json", folder / "tokenizer.json");
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
  const QuestionPair pair(tokenizer, "Who was it?", kContext);
  const Encoding whole = tokenizer.encode_pair(kContext, "Who was it?");
  EXPECT_TRUE(pair.context_first());
  const auto windows = pair.windows({.max_length = 24, .stride = 5});
  ASSERT_GT(windows.size(), 1U);
  Ids context;
  for (const ContextWindow& window : windows) {
    EXPECT_EQ(window.context_at, 0U);
    EXPECT_LE(window.ids.size(), 24U);
    context.resize(window.first);
    context.insert(context.end(), window.ids.begin(),
                   window.ids.begin() + static_cast<std::ptrdiff_t>(window.count));
    const std::size_t question = window.count;  // its first token
    EXPECT_EQ(pair.offset(window, question).begin, 0U);
    EXPECT_EQ(pair.word(window, question), 0);
    EXPECT_EQ(pair.offset(window, 0).begin, pair.context_offsets()[window.first].begin);
  }
  const Ids question(windows[0].ids.begin() + static_cast<std::ptrdiff_t>(windows[0].count),
                     windows[0].ids.end());
  context.insert(context.end(), question.begin(), question.end());
  EXPECT_EQ(context, whole.ids);
  folder.write("tokenizer_config.json", R"({"padding_side": "top"})");
  EXPECT_THAT(message_of([&] { Tokenizer::from_pretrained(folder.path()); }),
              HasSubstr("padding_side: expected \"right\" or \"left\", got \"top\""));
}

TEST_F(QuestionAnsweringTest, CutsWindowsThatOverlap) {
  const Ids context = tiny_tokenizer().encode(kContext, false).ids;
  const Ids question_ids = tiny_tokenizer().encode("Who?", false).ids;  // as its pairs begin
  const auto head = static_cast<std::int64_t>(question_ids.size());
  const auto total = static_cast<std::int64_t>(context.size());
  for (std::int64_t room = 6; room <= total + 1; ++room) {
    for (const std::int64_t stride : {0, 2, 5}) {
      options_.max_length = head + room;
      options_.doc_stride = stride;
      const auto source = make(document(list(question("Who?", list(answer("the king", kKing))))));
      std::int64_t first = 0;
      std::int64_t with_answer = 0;
      for (std::int64_t i = 0; i < source.size(); ++i) {
        const Ids ids = row(source, i);
        const std::int64_t count = source.tokens(i) - head;
        ASSERT_EQ(Ids(ids.begin(), ids.begin() + head), question_ids);
        ASSERT_EQ(Ids(ids.begin() + head, ids.end()),
                  Ids(context.begin() + first, context.begin() + first + count));
        ASSERT_EQ(count, std::min(room, total - first));
        if (source.collate(Ids{i}).start_positions->i64()[0] != 0) {
          EXPECT_EQ(answered(source, i), " the king");
          ++with_answer;
        } else {
          EXPECT_EQ(source.collate(Ids{i}).end_positions->i64()[0], 0);
        }
        // Neighbours share `stride` tokens, and the last window reaches the end.
        if (i + 1 == source.size()) {
          EXPECT_EQ(first + count, total);
        }
        first += room - stride;
      }
      if (stride == 5) {
        EXPECT_GE(with_answer, 1) << room;
      }
    }
  }
}

TEST_F(QuestionAnsweringTest, PointsToTheFirstTokenWhereThereIsNoAnswer) {
  json impossible = question("Why?", list(answer("the king", kKing)));
  impossible["is_impossible"] = true;
  const auto source = make(document(list(question("Who?", json::array()), impossible,
                                         question("Where?", list(answer("Caf\xC3\xA9", 0))))));
  const ForwardInputs inputs = source.collate(Ids{0, 1, 2});
  EXPECT_EQ(inputs.start_positions->i64()[0], 0);
  EXPECT_EQ(inputs.end_positions->i64()[0], 0);
  EXPECT_EQ(inputs.start_positions->i64()[1], 0);
  EXPECT_EQ(inputs.end_positions->i64()[1], 0);
  EXPECT_EQ(inputs.start_positions->i64()[2],
            static_cast<std::int64_t>(tiny_tokenizer().encode("Where?", false).ids.size()));
  EXPECT_EQ(answered(source, 2), "Caf\xC3\xA9");
  EXPECT_EQ(inputs.start_positions->shape(), (Shape{3}));
  EXPECT_EQ(inputs.position_ids->shape(), inputs.input_ids->shape());
  EXPECT_FALSE(inputs.labels.has_value());
}

TEST_F(QuestionAnsweringTest, AnAnswerInsideATokenGetsTheToken) {
  // Ends and begins inside words, as spans of characters may.
  const auto source = make(document(list(question("Who?", list(answer("ng of Isr", kKing + 6))))));
  EXPECT_THAT(answered(source, 0), HasSubstr("ng of Isr"));
}

TEST_F(QuestionAnsweringTest, NamesWhatIsBroken) {
  const std::string qa = file() + ": data[0].paragraphs[0].qas[0]";
  EXPECT_EQ(message(document(list(question("Who?", list(answer("the king", kKing + 1)))))),
            qa + ".answers[0].text: expected what the context holds at character 21, "
                 "\"he king \", got \"the king\"");
  EXPECT_THAT(message(document(list(question("Who?", list(answer("the king", 4000)))))),
              StartsWith(qa + ".answers[0].answer_start: expected a character of 0.."));
  EXPECT_THAT(
      message(document(list(question("Who?", list(json{{"text", "a"}, {"answer_start", -1}}))))),
      HasSubstr("got -1"));
  EXPECT_THAT(
      message(document(list(question("Who?", list(json{{"text", "a"}, {"answer_start", "1"}}))))),
      HasSubstr("got \"1\""));
  EXPECT_THAT(message(document(list(question("Who?", list(answer("", 1)))))),
              HasSubstr("answers[0].text"));
  EXPECT_THAT(message(document(list(question("Who?", list(json{{"text", "a"}}))))),
              StartsWith(qa + ".answers[0]: expected an object with \"answer_start\""));
  EXPECT_THAT(message(document(list(question("Who?", "a")))),
              StartsWith(qa + ".answers: expected a list, got \"a\""));
  EXPECT_THAT(message(document(list(json{{"id", "1"}, {"answers", json::array()}}))),
              StartsWith(qa + ": expected an object with \"question\""));
  EXPECT_THAT(message(document(list(json{{"id", 1}}))),
              StartsWith(qa + ".id: expected a string, got 1"));
  EXPECT_THAT(message(document(list(7))),
              StartsWith(qa + ": expected an object with \"id\", got 7"));
  EXPECT_THAT(message(document("x")),
              StartsWith(file() + ": data[0].paragraphs[0].qas: expected a list"));
  EXPECT_THAT(message(json{{"data", 3}}), StartsWith(file() + ".data: expected a list, got 3"));
  EXPECT_EQ(message(json::array()), file() + ": expected examples, got none");
  EXPECT_THAT(message(7), StartsWith(file() + ": expected an object with \"data\""));
  EXPECT_THAT(message(document(json::array())), HasSubstr("expected examples, got none"));
  folder_.write("cut.json", "{\"data\": [");
  EXPECT_THAT(message_of([&] { read_squad(folder_ / "cut.json", {}, bad_rows_); }),
              HasSubstr("expected JSON"));

  options_.max_length = 20;
  options_.doc_stride = 18;
  EXPECT_THAT(message(document(list(question("Who?", json::array())))),
              StartsWith(qa + ": question: expected fewer than 2 tokens, special ones included, "
                              "since windows have 20 and share 18 of the context, got "));
  options_.doc_stride = 19;
  EXPECT_EQ(message(document(list())), "[data.doc_stride] expected 0..18, got 19");
  options_.doc_stride = -1;
  EXPECT_EQ(message(document(list())), "[data.doc_stride] expected 0..18, got -1");
}

TEST_F(QuestionAnsweringTest, ReadsRowsAsHuggingFaceHasThem) {
  const json row = {{"id", "1"},
                    {"question", "Who?"},
                    {"context", kContext},
                    {"answers", {{"text", {"the king"}}, {"answer_start", {kKing}}}}};
  json none = row;
  none["answers"] = {{"text", json::array()}, {"answer_start", json::array()}};
  const auto lines = folder_.write("rows.jsonl", row.dump() + "\n" + none.dump() + "\n");
  const auto array = folder_.write("rows.json", list(row, none).dump());
  for (const auto& file : {lines, array}) {
    const std::vector<SquadQuestion> questions = read_squad(file, {}, bad_rows_);
    ASSERT_EQ(questions.size(), 2U) << file;
    EXPECT_EQ(questions[0].id, "1");
    ASSERT_EQ(questions[0].answers.size(), 1U);
    EXPECT_EQ(kContext.substr(questions[0].answers[0].begin, 8), "the king");
    EXPECT_TRUE(questions[1].answers.empty());
  }
  const auto bad = [&](const json& answers) {
    json broken = row;
    broken["answers"] = answers;
    const auto file = folder_.write("bad.jsonl", broken.dump());
    const std::string found = message_of([&] { read_squad(file, {}, bad_rows_); });
    return found.substr(std::min(found.size(), file.string().size()));
  };
  json flat = row;  // datasets.Dataset.flatten()
  flat.erase("answers");
  flat["answers.text"] = {"the king"};
  flat["answers.answer_start"] = {kKing};
  const std::vector<SquadQuestion> flattened =
      read_squad(folder_.write("flat.jsonl", flat.dump()), {}, bad_rows_);
  ASSERT_EQ(flattened.size(), 1U);
  ASSERT_EQ(flattened[0].answers.size(), 1U);
  EXPECT_EQ(kContext.substr(flattened[0].answers[0].begin, 8), "the king");
  flat.erase("answers.answer_start");
  EXPECT_THAT(
      message_of([&] { read_squad(folder_.write("flat.jsonl", flat.dump()), {}, bad_rows_); }),
      HasSubstr(":1: expected an object with a \"answers.answer_start\""));
  const std::vector<SquadQuestion> table =
      read_squad(folder_.write("flat.csv",
                               "question,context,answers.text,answers.answer_start\n"
                               "Who?,the king,\"[\"\"king\"\"]\",[4]\n"),
                 {}, bad_rows_);
  EXPECT_EQ(table.at(0).answers.at(0).begin, 4U);

  EXPECT_EQ(bad({{"text", {"the king"}}, {"answer_start", json::array()}}),
            ":1: answers: expected as many answer_start as text, got 0 and 1");
  EXPECT_THAT(bad({{"text", {"king"}}, {"answer_start", {1}}}),
              StartsWith(":1: answers[0].text: expected what the context holds at character 1"));
  EXPECT_EQ(bad({{"text", {"xxxx"}}, {"answer_start", {0}}}),
            ":1: answers[0].text: expected what the context holds at character 0, "
            "\"Caf\xC3\xA9\", got \"xxxx\"");
  EXPECT_THAT(bad(3), StartsWith(":1: answers: expected an object with \"text\", got 3"));
}

TEST_F(QuestionAnsweringTest, SkipsBadQuestionsAsFarAsItMay) {
  const json content = document(list(question("Who?", 1), question("Who?", json::array()), 3));
  bad_rows_ = BadRows(2);
  EXPECT_EQ(make(content).size(), 1);
  EXPECT_EQ(bad_rows_.count(), 2);
  bad_rows_ = BadRows(1);
  EXPECT_THAT(message(content),
              StartsWith(file() + ": data[0].paragraphs[0].qas[2]: expected an object with"));
}

}  // namespace
}  // namespace diffllama
