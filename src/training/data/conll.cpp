#include "training/data/conll.h"

#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

// Between tabs, where a line has any: a word may hold spaces then.
std::vector<std::string_view> columns_of(std::string_view line) {
  constexpr std::string_view kSpace = " \t";
  const std::string_view separators = line.find('\t') == std::string_view::npos ? " " : "\t";
  std::vector<std::string_view> columns;
  while (true) {
    const std::size_t first = line.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return columns;
    line.remove_prefix(first);
    const std::string_view column = line.substr(0, line.find_first_of(separators));
    columns.push_back(column.substr(0, column.find_last_not_of(kSpace) + 1));
    line.remove_prefix(column.size());
  }
}

const json& list_field(const DataRow& row, const std::string& name) {
  const json& list = required_field(row, name);
  if (!list.is_array()) {
    throw FormatError(row.where + ": " + name + ": expected a list, got " + json_excerpt(list));
  }
  return list;
}

void set_tag(const json& tag, const DataRow& row, const std::string& column, TaggedWord& word) {
  constexpr int kNoTag = -100;
  if (tag.is_null() || tag == kNoTag) return;
  if (tag.is_string()) {
    word.tag = tag.get<std::string>();
  } else if (tag.is_number_unsigned()) {
    word.tag = tag.dump();
    word.tag_number = tag.get<std::int64_t>();
  }
  constexpr std::int64_t kMostClasses = 1'000'000;
  if (word.tag.empty() || word.tag_number.value_or(0) >= kMostClasses) {
    throw FormatError(row.where + ": " + column + ": expected names or numbers of classes, got " +
                      json_excerpt(tag));
  }
}

}  // namespace

TaggedWord ConllReader::read_word(std::string_view line) {
  const std::vector<std::string_view> columns = columns_of(line);
  if (columns.size() < 2) {
    throw FormatError(lines_.where() + ": expected a word and its tag, got \"" + shortened(line) +
                      '"');
  }
  if (columns_ == 0) columns_ = columns.size();
  if (columns.size() != columns_) {
    throw FormatError(lines_.where() + ": expected " + std::to_string(columns_) +
                      " columns as the first line has, got " + std::to_string(columns.size()));
  }
  TaggedWord word;
  word.form = replace_invalid_utf8(columns.front());
  if (columns.back() != "_") word.tag = replace_invalid_utf8(columns.back());
  word.where = lines_.where();
  return word;
}

bool ConllReader::next(std::vector<TaggedWord>& words) {
  words.clear();
  std::string problem;  // of a sentence that is read to its end first
  for (std::string line; lines_.next(line);) {
    if (is_blank(line)) {
      if (words.empty() && problem.empty()) continue;
      break;
    }
    if (line.starts_with("-DOCSTART-")) continue;
    try {
      words.push_back(read_word(line));
      words.back().space_before = words.size() > 1;
    } catch (const FormatError& error) {
      if (problem.empty()) problem = error.what();
    }
  }
  if (!problem.empty()) throw FormatError(problem);
  return !words.empty();
}

SentenceRows::SentenceRows(const std::filesystem::path& path, std::string words_column,
                           std::string tags_column)
    : rows_(RowReader::open(path)),
      words_column_(std::move(words_column)),
      tags_column_(std::move(tags_column)) {}

bool SentenceRows::next(std::vector<TaggedWord>& words) {
  words.clear();
  DataRow row;
  if (!rows_->next(row)) return false;
  const json& forms = list_field(row, words_column_);
  const json& tags = list_field(row, tags_column_);
  if (forms.empty() || forms.size() != tags.size()) {
    throw FormatError(row.where + ": expected as many " + tags_column_ + " as " + words_column_ +
                      ", one or more, got " + std::to_string(tags.size()) + " and " +
                      std::to_string(forms.size()));
  }
  for (std::size_t i = 0; i < forms.size(); ++i) {
    TaggedWord word;
    if (!forms[i].is_string()) {
      throw FormatError(row.where + ": " + words_column_ + ": expected a list of strings, got " +
                        json_excerpt(forms));
    }
    word.form = forms[i].get<std::string>();
    set_tag(tags[i], row, tags_column_, word);
    word.space_before = i > 0;
    word.where = row.where;
    words.push_back(std::move(word));
  }
  return true;
}

}  // namespace diffllama
