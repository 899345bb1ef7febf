#include "training/data/conllu.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::size_t kColumns = 10;
constexpr std::size_t kId = 0, kForm = 1, kUpos = 3, kXpos = 4, kMisc = 9;

[[noreturn]] void refuse(const std::string& where, const std::string& expected,
                         std::string_view found) {
  constexpr std::size_t kShown = 60;
  throw FormatError(where + ": " + expected + ", got \"" + std::string(found.substr(0, kShown)) +
                    (found.size() > kShown ? "...\"" : "\""));
}

std::array<std::string_view, kColumns> split(std::string_view line, const std::string& where) {
  const auto found = static_cast<std::size_t>(std::ranges::count(line, '\t')) + 1;
  if (found != kColumns) {
    throw FormatError(where + ": expected 10 columns with tabs between, got " +
                      std::to_string(found));
  }
  std::array<std::string_view, kColumns> columns;
  for (std::string_view& column : columns) {
    column = line.substr(0, line.find('\t'));
    line.remove_prefix(std::min(line.size(), column.size() + 1));
  }
  return columns;
}

std::optional<std::int64_t> integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

bool has_no_space_after(std::string_view misc) {
  while (!misc.empty()) {
    const std::string_view entry = misc.substr(0, misc.find('|'));
    if (entry == "SpaceAfter=No") return true;
    misc.remove_prefix(std::min(misc.size(), entry.size() + 1));
  }
  return false;
}

}  // namespace

// A sentence while its lines come.
class ConlluReader::Sentence {
 public:
  Sentence(std::vector<TaggedWord>& words, ConlluColumn column) : words_(words), column_(column) {}

  void add(const std::string& line, const std::string& where) {
    const auto columns = split(line, where);
    const std::string_view id = columns[kId];
    const std::size_t mark = id.find_first_of("-.");
    if (mark == std::string_view::npos) {
      add_word(columns, where);
    } else if (id[mark] == '-') {
      begin_multiword(id, mark, columns[kMisc], where);
    } else if (integer(id.substr(0, mark)) != last_ || !integer(id.substr(mark + 1))) {
      refuse(where, "ID: expected an empty node " + std::to_string(last_) + ".N", id);
    }
  }
  void finish(const std::string& where) const {
    if (last_ < multiword_end_) {
      throw FormatError(where + ": ID: expected words to " + std::to_string(multiword_end_) +
                        " of a multiword token, got the end of the sentence after " +
                        std::to_string(last_));
    }
  }

 private:
  void add_word(const std::array<std::string_view, kColumns>& columns, const std::string& where) {
    if (integer(columns[kId]) != last_ + 1) {
      refuse(where, "ID: expected " + std::to_string(last_ + 1), columns[kId]);
    }
    ++last_;
    TaggedWord word;
    word.form = columns[kForm];
    if (word.form.empty()) refuse(where, "FORM: expected a word", "");
    word.tag = columns[column_ == ConlluColumn::upos ? kUpos : kXpos];
    if (word.tag.empty()) {
      refuse(where,
             std::string(column_ == ConlluColumn::upos ? "UPOS" : "XPOS") + ": expected a tag or _",
             "");
    }
    if (word.tag == "_") word.tag.clear();
    word.space_before = space_before_;
    word.where = where;
    words_.push_back(std::move(word));
    // What follows a multiword token is told on its own line.
    space_before_ = last_ < multiword_end_    ? false
                    : last_ == multiword_end_ ? multiword_space_after_
                                              : !has_no_space_after(columns[kMisc]);
  }

  void begin_multiword(std::string_view id, std::size_t mark, std::string_view misc,
                       const std::string& where) {
    const auto first = integer(id.substr(0, mark));
    const auto end = integer(id.substr(mark + 1));
    if (last_ < multiword_end_) refuse(where, "ID: expected " + std::to_string(last_ + 1), id);
    if (first != last_ + 1 || !end || *end <= *first) {
      refuse(where,
             "ID: expected " + std::to_string(last_ + 1) +
                 ", or a multiword token that begins with it",
             id);
    }
    multiword_end_ = *end;
    multiword_space_after_ = !has_no_space_after(misc);
  }

  std::vector<TaggedWord>& words_;
  ConlluColumn column_;
  std::int64_t last_ = 0;           // the last word's ID
  std::int64_t multiword_end_ = 0;  // of the last multiword token
  bool multiword_space_after_ = false;
  bool space_before_ = false;  // the next word
};

ConlluReader::ConlluReader(std::filesystem::path path, ConlluColumn column)
    : lines_(std::move(path)), column_(column) {}

bool ConlluReader::next(std::vector<TaggedWord>& words) {
  try {
    return read_sentence(words);
  } catch (const FormatError&) {
    for (std::string line; !at_sentence_end_ && lines_.next(line);) {
      at_sentence_end_ = is_blank(line);
    }
    throw;
  }
}

bool ConlluReader::read_sentence(std::vector<TaggedWord>& words) {
  words.clear();
  Sentence sentence(words, column_);
  for (std::string line; lines_.next(line);) {
    if (std::exchange(at_start_, false) && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    at_sentence_end_ = is_blank(line);
    if (line.starts_with('#')) continue;
    if (!at_sentence_end_) {
      sentence.add(line, lines_.where());
      continue;
    }
    sentence.finish(lines_.where());
    if (!words.empty()) return true;
  }
  sentence.finish(lines_.where());
  return !words.empty();
}

}  // namespace diffllama
