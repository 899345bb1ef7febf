#include "tokenizer/training_words.h"

#include <algorithm>
#include <functional>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/expansion.h"
#include "tokenizer/source_text.h"

namespace diffllama {

struct WordCounter::Counts {
  std::unordered_map<std::string, std::uint64_t> of_word;
};

WordCounter::WordCounter(const PreTokenizer& pre_tokenizer)
    : pre_tokenizer_(pre_tokenizer), counts_(std::make_unique<Counts>()) {}
WordCounter::~WordCounter() = default;

void WordCounter::add(std::string_view text) {
  SourceText source;
  source.append(text);
  if (source.text().empty()) return;
  const auto size = static_cast<std::uint32_t>(source.text().size());
  PreTokenizedText pieces(AlignedText(source.text()), {{0, size, Segment::kNoId}},
                          expansion_limit(size));
  pre_tokenizer_.apply(pieces);
  const AlignedText& cut = pieces.text();
  for (const Segment& segment : pieces.segments()) {
    ++counts_->of_word[std::string(cut.view(segment.begin, segment.end))];
  }
}

std::vector<TrainingWord> WordCounter::take() {
  std::vector<TrainingWord> words;
  words.reserve(counts_->of_word.size());
  for (const auto& [text, count] : counts_->of_word) words.push_back({text, count});
  counts_->of_word.clear();
  std::ranges::sort(words, {}, &TrainingWord::text);
  return words;
}

std::vector<std::string> frequent_characters(const std::vector<TrainingWord>& words,
                                             double coverage) {
  std::map<char32_t, std::uint64_t> counts;
  std::uint64_t total = 0;
  for (const TrainingWord& word : words) {
    for (std::size_t at = 0; at < word.text.size();) {
      const CodePoint c = code_point_at(word.text, at);
      counts[c.value] += word.count;
      total += word.count;
      at += c.length;
    }
  }
  std::vector<std::pair<char32_t, std::uint64_t>> sorted(counts.begin(), counts.end());
  std::ranges::stable_sort(sorted, std::greater<>(), &std::pair<char32_t, std::uint64_t>::second);
  std::vector<std::string> characters;
  std::uint64_t covered = 0;
  for (const auto& [c, count] : sorted) {
    if (static_cast<double>(covered) >= coverage * static_cast<double>(total)) break;
    covered += count;
    append_utf8(characters.emplace_back(), c);
  }
  return characters;
}

}  // namespace diffllama
