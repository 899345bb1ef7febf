#include "training/measures/squad_scores.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "base/utf8.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

bool is_ascii_punctuation(char32_t c) { return c < 0x80 && is_punctuation(c); }

// Python's \w: marks are none.
bool is_word_character(char32_t c) { return is_word(c) && !is_mark(c); }

std::u32string lower_without_punctuation(std::string_view text) {
  std::u32string lower;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    at += c.length;
    if (!is_ascii_punctuation(c.value)) append_lowercase(lower, c.value);
  }
  return lower;
}

std::u32string without_articles(const std::u32string& text) {
  std::u32string result;
  for (std::size_t first = 0; first < text.size();) {
    std::size_t end = first;
    while (end < text.size() && is_word_character(text[end])) ++end;
    const std::u32string word = text.substr(first, end - first);
    if (word == U"a" || word == U"an" || word == U"the") {
      result += U' ';
    } else {
      result += word;
    }
    if (end < text.size()) result += text[end++];
    first = end;
  }
  return result;
}

std::vector<std::string> words_of(std::string_view answer) {
  std::vector<std::string> words;
  bool in_word = false;
  for (const char32_t c : without_articles(lower_without_punctuation(answer))) {
    const bool space = is_whitespace(c);
    if (!space) {
      if (!in_word) words.emplace_back();
      append_utf8(words.back(), c);
    }
    in_word = !space;
  }
  return words;
}

double f1_of(const std::vector<std::string>& prediction, const std::vector<std::string>& answer) {
  if (prediction.empty() || answer.empty()) return prediction.empty() == answer.empty() ? 1 : 0;
  std::map<std::string, int> left;
  for (const std::string& word : answer) ++left[word];
  double same = 0;
  for (const std::string& word : prediction) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++same;
  }
  return 2 * same / static_cast<double>(prediction.size() + answer.size());
}

}  // namespace

std::string normalized_answer(std::string_view answer) {
  std::string text;
  for (const std::string& word : words_of(answer)) text += (text.empty() ? "" : " ") + word;
  return text;
}

SquadScore squad_score(std::string_view prediction, const std::vector<std::string>& answers) {
  const std::vector<std::string> predicted = words_of(prediction);
  SquadScore best;
  bool counts = false;
  const auto compare = [&](const std::vector<std::string>& answer) {
    best.exact_match = std::max(best.exact_match, predicted == answer ? 1.0 : 0.0);
    best.f1 = std::max(best.f1, f1_of(predicted, answer));
  };
  for (const std::string& answer : answers) {
    const std::vector<std::string> words = words_of(answer);
    if (words.empty()) continue;
    compare(words);
    counts = true;
  }
  if (!counts) compare({});
  return best;
}

}  // namespace diffllama
