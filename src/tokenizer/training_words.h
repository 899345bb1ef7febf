#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/pre_tokenizer.h"

namespace diffllama {

/// A piece that the pre-tokenizer cut out of the training texts, and how often.
struct TrainingWord {
  std::string text;  // UTF-8
  std::uint64_t count = 0;
};

/// Counts the words of texts. The order of the texts changes nothing.
class WordCounter {
 public:
  explicit WordCounter(const PreTokenizer& pre_tokenizer);
  ~WordCounter();
  WordCounter(const WordCounter&) = delete;
  WordCounter& operator=(const WordCounter&) = delete;
  WordCounter(WordCounter&&) = delete;
  WordCounter& operator=(WordCounter&&) = delete;

  /// What is not UTF-8 counts as U+FFFD.
  void add(std::string_view text);
  /// The words, by text.
  std::vector<TrainingWord> take();

 private:
  struct Counts;
  const PreTokenizer& pre_tokenizer_;
  std::unique_ptr<Counts> counts_;
};

/// The characters of the words that make up `coverage` of the text, the most frequent first.
std::vector<std::string> frequent_characters(const std::vector<TrainingWord>& words,
                                             double coverage);

}  // namespace diffllama
