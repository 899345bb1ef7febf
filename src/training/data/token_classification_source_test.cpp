#include "training/data/token_classification_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "training/data/conll.h"
#include "training/data/conllu.h"
#include "training/data/test_folder.h"
#include "training/data/text_encoding.h"

namespace diffllama {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

std::string line(const std::string& id, const std::string& form, const std::string& upos,
                 const std::string& misc = "_") {
  return id + "\t" + form + "\t_\t" + upos + "\tX" + upos + "\t_\t_\t_\t_\t" + misc + "\n";
}

// "We don't sing." and, after an empty node, "Amen".
const std::string kSentences =
    "\xEF\xBB\xBF# sent_id = 1\n# text = We don't sing.\n" + line("1", "We", "PRON") +
    line("2-3", "don't", "_") + line("2", "do", "AUX") + line("3", "n't", "PART") +
    line("3.1", "gladly", "ADV") + line("4", "singeth", "VERB", "Gloss=x|SpaceAfter=No") +
    line("5", ".", "PUNCT") + "\n\n# sent_id = 2\n" + line("1", "Amen", "_");

class TokenClassificationTest : public testing::Test {
 protected:
  TokenClassificationTest() { options_.labels = {"AUX", "PART", "PRON", "PUNCT", "VERB"}; }
  TokenClassificationSource make(const std::string& text) {
    const auto file = folder_.write("train.conllu", text);
    return {{file}, tiny_tokenizer(), options_, Parallel(2), bad_rows_};
  }
  std::string message(const std::string& text) {
    return message_of<Error>([&] { make(text); });
  }
  std::string file() const { return (folder_ / "train.conllu").string(); }

  TestFolder folder_;
  TokenClassificationOptions options_;
  BadRows bad_rows_;
};

TEST_F(TokenClassificationTest, ReadsWordsAndSpaces) {
  ConlluReader reader(folder_.write("a.conllu", kSentences), ConlluColumn::upos);
  std::vector<TaggedWord> words;
  ASSERT_TRUE(reader.next(words));
  std::vector<std::string> forms, tags;
  std::vector<bool> spaces;
  for (const TaggedWord& word : words) {
    forms.push_back(word.form);
    tags.push_back(word.tag);
    spaces.push_back(word.space_before);
  }
  EXPECT_THAT(forms, ElementsAre("We", "do", "n't", "singeth", "."));
  EXPECT_THAT(tags, ElementsAre("PRON", "AUX", "PART", "VERB", "PUNCT"));
  EXPECT_THAT(spaces, ElementsAre(false, true, false, true, false));
  EXPECT_EQ(words[1].where, (folder_ / "a.conllu:5").string());
  ASSERT_TRUE(reader.next(words));
  ASSERT_EQ(words.size(), 1U);
  EXPECT_EQ(words[0].tag, "");
  EXPECT_FALSE(reader.next(words));
}

TEST_F(TokenClassificationTest, MultiwordTokensMayEndWithoutASpace) {
  ConlluReader reader(
      folder_.write("a.conllu", line("1-2", "don't", "_", "SpaceAfter=No") +
                                    line("1", "do", "AUX") + line("2", "n't", "PART") +
                                    line("3", "!", "PUNCT") + line("4", "Go", "VERB")),
      ConlluColumn::xpos);
  std::vector<TaggedWord> words;
  ASSERT_TRUE(reader.next(words));
  ASSERT_EQ(words.size(), 4U);
  EXPECT_EQ(words[0].tag, "XAUX");
  EXPECT_FALSE(words[2].space_before);
  EXPECT_TRUE(words[3].space_before);
}

TEST_F(TokenClassificationTest, TheFirstTokenOfAWordCarriesItsTag) {
  const auto source = make(kSentences);
  ASSERT_EQ(source.size(), 2);
  Ids ids = {1}, labels = {-100};
  const std::vector<std::pair<std::string, std::int64_t>> words = {
      {"We", 2}, {" do", 0}, {"n't", 1}, {" singeth", 4}, {".", 3}};
  for (const auto& [word, label] : words) {
    const Ids tokens = tiny_tokenizer().encode(word, false).ids;
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    labels.push_back(label);
    labels.resize(ids.size(), -100);
  }
  ASSERT_GT(ids.size(), words.size() + 1);  // some word has two tokens
  const ForwardInputs inputs = source.collate(Ids{0, 1});
  const auto width = static_cast<std::int64_t>(ids.size());
  const auto both = width + source.tokens(1);
  ASSERT_EQ(inputs.input_ids->shape(), (Shape{1, both}));
  ASSERT_EQ(inputs.labels->shape(), (Shape{1, both}));
  EXPECT_EQ(Ids(inputs.input_ids->i64().begin(), inputs.input_ids->i64().begin() + width), ids);
  EXPECT_EQ(Ids(inputs.labels->i64().begin(), inputs.labels->i64().begin() + width), labels);
  // A word without a tag is not counted.
  EXPECT_EQ(Ids(inputs.labels->i64().begin() + width, inputs.labels->i64().end()),
            Ids(static_cast<std::size_t>(both - width), -100));
  EXPECT_EQ(inputs.position_ids->i64()[static_cast<std::size_t>(width)], 0);
  EXPECT_EQ(source.tokens(0), width);
}

TEST_F(TokenClassificationTest, LongSentencesLoseTheirEnd) {
  options_.max_length = 3;
  const auto source = make(kSentences);
  const ForwardInputs inputs = source.collate(Ids{0});
  EXPECT_EQ(inputs.input_ids->shape(), (Shape{1, 3}));
  EXPECT_EQ(inputs.labels->shape(), (Shape{1, 3}));
  options_.max_length = 1;
  EXPECT_EQ(message(kSentences),
            "[data.sequence_length] expected more than the 1 special tokens, got 1");
}

TEST_F(TokenClassificationTest, CollectsTags) {
  const auto file = folder_.write("a.conllu", kSentences);
  const TagFormat upos, xpos = {.column = ConlluColumn::xpos};
  EXPECT_THAT(collect_tags({file}, upos, bad_rows_),
              ElementsAre("AUX", "PART", "PRON", "PUNCT", "VERB"));
  EXPECT_EQ(collect_tags({file}, xpos, bad_rows_).size(), 6U);  // X_ is a tag
  EXPECT_THAT(message_of([&] { collect_tags({folder_.write("b", "\n")}, upos, bad_rows_); }),
              HasSubstr("b: UPOS: expected tags, got none"));
}

TEST_F(TokenClassificationTest, NamesTheLineThatIsBroken) {
  const std::string before = "# text\r\n" + line("1", "We", "PRON");
  const auto expect = [&](const std::string& text, const std::string& expected) {
    EXPECT_EQ(message(before + text), file() + expected);
  };
  expect(line("2", "a", "NOUN"),
         R"(:3: UPOS: expected one of "AUX", "PART", "PRON", "PUNCT", "VERB", got "NOUN")");
  expect("2 a b\n", ":3: expected 10 columns with tabs between, got 1");
  expect("2\ta\tb\n", ":3: expected 10 columns with tabs between, got 3");
  expect(line("2", "a", "AUX", "_\t_"), ":3: expected 10 columns with tabs between, got 11");
  expect(line("3", "a", "AUX"), ":3: ID: expected 2, got \"3\"");
  expect(line("1", "a", "AUX"), ":3: ID: expected 2, got \"1\"");
  expect(line("", "a", "AUX"), ":3: ID: expected 2, got \"\"");
  expect(line("2x", "a", "AUX"), ":3: ID: expected 2, got \"2x\"");
  expect(line("99999999999999999999", "a", "AUX"),
         ":3: ID: expected 2, got \"99999999999999999999\"");
  expect(line("2", "", "AUX"), ":3: FORM: expected a word, got \"\"");
  expect(line("2", "a", ""), ":3: UPOS: expected a tag or _, got \"\"");
  expect(line("3-4", "a", "_"),
         ":3: ID: expected 2, or a multiword token that begins with it, got \"3-4\"");
  expect(line("2-2", "a", "_"),
         ":3: ID: expected 2, or a multiword token that begins with it, got \"2-2\"");
  expect(line("2-3", "a", "_") + line("2", "a", "AUX") + "\n",
         ":5: ID: expected words to 3 of a multiword token, got the end of the sentence after 2");
  expect(line("2-3", "a", "_") + line("2-4", "a", "AUX"), ":4: ID: expected 2, got \"2-4\"");
  expect(line("2.1", "a", "AUX"), ":3: ID: expected an empty node 1.N, got \"2.1\"");
  expect(line("1.x", "a", "AUX"), ":3: ID: expected an empty node 1.N, got \"1.x\"");
  EXPECT_EQ(message("# nothing\n\n"), file() + ": expected examples, got none");
}

TEST(TextEncoding, FindsTheSpecialTokens) {
  const SpecialTokens special = special_tokens_around(tiny_tokenizer());
  EXPECT_THAT(special.before, ElementsAre(1));
  EXPECT_TRUE(special.after.empty());

  // The same tokenizer with EOS after the text.
  const TestFolder folder;
  std::string json = read_whole_file(tiny_directory() / "tokenizer.json");
  const std::string text = R"({"Sequence":{"id":"A","type_id":0}})";
  nlohmann::json tokenizer = nlohmann::json::parse(json);
  tokenizer["post_processor"]["single"] =
      nlohmann::json::parse("[" + text + R"(, {"SpecialToken": {"id": "</s>", "type_id": 0}}])");
  tokenizer["post_processor"]["special_tokens"]["</s>"] = {
      {"id", "</s>"}, {"ids", {2}}, {"tokens", {"</s>"}}};
  folder.write("tokenizer.json", tokenizer.dump());
  const SpecialTokens after = special_tokens_around(Tokenizer::from_pretrained(folder.path()));
  EXPECT_TRUE(after.before.empty());
  EXPECT_THAT(after.after, ElementsAre(2));
}

TEST_F(TokenClassificationTest, ReadsColumnsAndRows) {
  options_.labels = {"O", "B-PER", "B-LOC"};
  options_.format.kind = TagFormat::Kind::conll;
  const auto columns = folder_.write(
      "a.conll", "-DOCSTART- -X- O O\n\nAnna NNP I-NP B-PER\nsleeps VB _ O\n\n\nRome NN x B-LOC\n");
  const auto rows = folder_.write("a.jsonl", R"({"tokens": ["Anna", "sleeps"], "ner_tags": [1, 0]})"
                                             "\n"
                                             R"({"tokens": ["Rome"], "ner_tags": ["B-LOC"]})");
  const auto bio = folder_.write("b.bio", "Anna\tB-PER\nsleeps\tO\n\nRome\tB-LOC");
  const auto labels_of = [&](const std::filesystem::path& file) {
    const TokenClassificationSource source({file}, tiny_tokenizer(), options_, Parallel(2),
                                           bad_rows_);
    std::vector<Ids> result;
    for (std::int64_t i = 0; i < source.size(); ++i) {
      const ForwardInputs inputs = source.collate(Ids{i});
      result.emplace_back(inputs.labels->i64().begin(), inputs.labels->i64().end());
      std::erase(result.back(), -100);
    }
    return result;
  };
  const std::vector<Ids> expected = {{1, 0}, {2}};
  EXPECT_EQ(labels_of(columns), expected);
  EXPECT_EQ(labels_of(rows), expected);
  EXPECT_EQ(labels_of(bio), expected);
  EXPECT_THAT(collect_tags({columns}, options_.format, bad_rows_),
              ElementsAre("B-LOC", "B-PER", "O"));
  ConllReader reader(folder_.write("c.bio", "New York \t B-LOC\nis\t\tO\n\nNew York O\n"));
  std::vector<TaggedWord> words;
  ASSERT_TRUE(reader.next(words));
  ASSERT_EQ(words.size(), 2U);
  EXPECT_EQ(words[0].form, "New York") << "a line with tabs has its columns between them";
  EXPECT_EQ(words[0].tag, "B-LOC");
  EXPECT_EQ(words[1].form, "is");
  EXPECT_THAT(message_of([&] { reader.next(words); }), HasSubstr("expected 2 columns"));
  const auto numbers = folder_.write("n.jsonl", R"({"tokens": ["a", "b"], "ner_tags": [2, -100]})");
  EXPECT_THAT(collect_tags({numbers}, options_.format, bad_rows_),
              ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
}

TEST_F(TokenClassificationTest, NamesABadSentenceAndGoesOnBehindIt) {
  options_.labels = {"O"};
  options_.format.kind = TagFormat::Kind::conll;
  const auto expect = [&](const char* name, const std::string& text, const std::string& expected) {
    const auto file = folder_.write(name, text);
    const auto sentences = [&] {
      const TokenClassificationSource source({file}, tiny_tokenizer(), options_, Parallel(2),
                                             bad_rows_);
      return source.size();
    };
    bad_rows_ = BadRows(0);
    EXPECT_EQ(message_of([&] { sentences(); }), file.string() + expected);
    bad_rows_ = BadRows(1);
    EXPECT_EQ(sentences(), 2) << text;
  };
  expect("a.conll", "a O\n\nb\nc O\n\nd O\n", R"(:3: expected a word and its tag, got "b")");
  expect("a.conll", "a O\n\nb x O\nc O\n\nd O\n",
         ":3: expected 2 columns as the first line has, got 3");
  expect("a.conll", "a O\n\nb X\n\nd O\n", R"(:3: tag: expected one of "O", got "X")");
  const std::string good = "{\"tokens\": [\"a\"], \"ner_tags\": [0]}\n";
  expect("a.jsonl", good + "{\"tokens\": [\"a\"], \"ner_tags\": []}\n" + good,
         ":2: expected as many ner_tags as tokens, one or more, got 0 and 1");
  expect("a.jsonl", good + "{\"tokens\": [\"a\"], \"ner_tags\": [1.5]}\n" + good,
         ":2: ner_tags: expected names or numbers of classes, got 1.5");
  expect("a.jsonl", good + "{\"tokens\": [1], \"ner_tags\": [0]}\n" + good,
         ":2: tokens: expected a list of strings, got [1]");
  expect("a.jsonl", good + "{\"tokens\": 1, \"ner_tags\": [0]}\n" + good,
         ":2: tokens: expected a list, got 1");
  expect("a.jsonl", good + "{\"ner_tags\": [0]}\n" + good,
         R"(:2: expected an object with a "tokens", got {"ner_tags":[0]})");
}

}  // namespace
}  // namespace diffllama
