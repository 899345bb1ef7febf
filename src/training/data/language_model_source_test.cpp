#include "training/data/language_model_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "training/data/test_folder.h"
#include "training/data/tokenize_corpus.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kTexts = {
    "And God said, Let there be light: and there was light.", "", "x",
    "And God saw the light, that it was good: and God divided the light from the darkness."};

std::vector<std::int64_t> values(const std::optional<Tensor>& tensor) {
  return {tensor->i64().begin(), tensor->i64().end()};
}

class LanguageModelSourceTest : public testing::Test {
 protected:
  LanguageModelSourceTest() {
    for (std::size_t i = 0; i < kTexts.size(); ++i) {
      options_.paths.push_back(folder_.write(std::to_string(i) + ".txt", kTexts[i]));
      const auto ids = tiny_tokenizer().encode(kTexts[i]).ids;
      for (std::size_t t = 0; t < ids.size(); ++t) {
        tokens_.push_back(ids[t]);
        first_.push_back(t == 0);
      }
    }
    options_.tokens_per_shard = 7;
  }
  LanguageModelSource make(std::int64_t length, Packing packing,
                           LastWindow last = LastWindow::dropped) {
    return {tokenize_corpus(tiny_tokenizer(), 1, options_, folder_ / "shards", Parallel(1)), length,
            packing, nullptr, last};
  }

  TestFolder folder_;
  CorpusOptions options_;
  std::vector<std::int64_t> tokens_;
  std::vector<bool> first_;  // of a document
};

TEST_F(LanguageModelSourceTest, CutsWindowsWithoutAGap) {
  for (const std::int64_t length : {2, 3, 10, static_cast<int>(tokens_.size())}) {
    const LanguageModelSource source = make(length, Packing::plain);
    EXPECT_EQ(source.size(), static_cast<std::int64_t>(tokens_.size()) / length);
    EXPECT_EQ(source.tokens(0), length);
    std::vector<std::int64_t> seen;
    for (std::int64_t i = 0; i < source.size(); ++i) {
      const ForwardInputs inputs = source.collate(std::vector<std::int64_t>{i});
      EXPECT_EQ(inputs.input_ids->shape(), (Shape{1, length}));
      EXPECT_EQ(values(inputs.labels), values(inputs.input_ids));
      EXPECT_FALSE(inputs.position_ids.has_value());
      EXPECT_FALSE(inputs.attention_mask.has_value());
      for (const std::int64_t id : values(inputs.input_ids)) seen.push_back(id);
    }
    EXPECT_EQ(seen,
              std::vector<std::int64_t>(tokens_.begin(), tokens_.begin() + source.size() * length));
  }
}

TEST_F(LanguageModelSourceTest, PackedDocumentsAreStrangers) {
  constexpr std::int64_t kLength = 9;
  const LanguageModelSource source = make(kLength, Packing::packed);
  for (std::int64_t i = 0; i < source.size(); ++i) {
    const ForwardInputs inputs = source.collate(std::vector<std::int64_t>{i});
    std::int64_t position = 0;
    for (std::int64_t t = 0; t < kLength; ++t, ++position) {
      const auto at = static_cast<std::size_t>(i * kLength + t);
      const auto column = static_cast<std::size_t>(t);
      if (first_[at]) position = 0;
      EXPECT_EQ(inputs.input_ids->i64()[column], tokens_[at]);
      EXPECT_EQ(inputs.labels->i64()[column], first_[at] ? -100 : tokens_[at]);
      EXPECT_EQ(inputs.position_ids->i64()[column], position);
    }
  }
}

TEST_F(LanguageModelSourceTest, PutsExamplesIntoRows) {
  const LanguageModelSource source = make(5, Packing::packed);
  const ForwardInputs both = source.collate(std::vector<std::int64_t>{3, 1});
  EXPECT_EQ(both.input_ids->shape(), (Shape{2, 5}));
  for (const auto member :
       {&ForwardInputs::input_ids, &ForwardInputs::labels, &ForwardInputs::position_ids}) {
    std::vector<std::int64_t> rows = values(source.collate(std::vector<std::int64_t>{3}).*member);
    for (const std::int64_t value : values(source.collate(std::vector<std::int64_t>{1}).*member)) {
      rows.push_back(value);
    }
    EXPECT_EQ(values(both.*member), rows);
  }
}

TEST_F(LanguageModelSourceTest, ALastShorterWindowHoldsWhatIsLeft) {
  const auto count = std::ssize(tokens_);
  const std::int64_t length = count / 2 - 1;  // twice, and two or three tokens
  for (const Packing packing : {Packing::plain, Packing::packed}) {
    const LanguageModelSource source = make(length, packing, LastWindow::kept);
    ASSERT_EQ(source.size(), 3);
    EXPECT_EQ(source.tokens(1), length);
    EXPECT_EQ(source.tokens(2), count - 2 * length);
    const ForwardInputs alone = source.collate(std::vector<std::int64_t>{2});
    EXPECT_EQ(alone.input_ids->shape(), (Shape{1, count - 2 * length}));
    EXPECT_EQ(alone.position_ids.has_value(), packing == Packing::packed);
    const ForwardInputs all = source.collate(std::vector<std::int64_t>{0, 1, 2});
    EXPECT_EQ(all.input_ids->shape(), (Shape{1, count}));
    EXPECT_EQ(values(all.input_ids), tokens_);
    for (std::int64_t t = 0; t < count; ++t) {
      const auto at = static_cast<std::size_t>(t);
      const bool ignored = t % length == 0 || (packing == Packing::packed && first_[at]);
      EXPECT_EQ(all.labels->i64()[at], ignored ? -100 : tokens_[at]) << t;
      if (packing == Packing::plain) {
        EXPECT_EQ(all.position_ids->i64()[at], t % length) << t;
      }
    }
    const ForwardInputs whole = source.collate(std::vector<std::int64_t>{0, 1});
    EXPECT_EQ(whole.input_ids->shape(), (Shape{2, length})) << "as in training";
  }
  EXPECT_EQ(make(count - 1, Packing::plain, LastWindow::kept).size(), 1) << "one token is none";
  EXPECT_EQ(make(1000, Packing::plain, LastWindow::kept).size(), 1);
}

TEST_F(LanguageModelSourceTest, SaysWhatCannotBe) {
  EXPECT_THAT(message_of<InvalidArgument>([&] { make(1, Packing::plain); }),
              HasSubstr("[sequence_length] expected 2 or more, got 1"));
  EXPECT_THAT(message_of<InvalidArgument>([&] { make(1000, Packing::plain); }),
              HasSubstr("expected at least the 1000 tokens of one sequence, got " +
                        std::to_string(tokens_.size())));
  const LanguageModelSource source = make(5, Packing::plain);
  EXPECT_THAT(message_of<InvalidArgument>([&] { source.collate({}); }),
              HasSubstr("expected examples, got none"));
  EXPECT_THAT(message_of<InvalidArgument>(
                  [&] { source.collate(std::vector<std::int64_t>{source.size()}); }),
              HasSubstr("[collate] expected examples of 0.." + std::to_string(source.size() - 1)));
}

}  // namespace
}  // namespace diffllama
