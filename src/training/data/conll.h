#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "training/data/line_reader.h"
#include "training/data/rows.h"
#include "training/data/tagged_sentences.h"

namespace diffllama {

/// The sentences of a file with a word a line: columns between tabs, or on a line without any
/// between spaces, as many on every line, the first the word and the last its tag, blank lines
/// between sentences. CoNLL-2003's lines that begin with -DOCSTART- are left out. "_" is no tag.
class ConllReader : public SentenceReader {
 public:
  explicit ConllReader(std::filesystem::path path) : lines_(std::move(path)) {}
  bool next(std::vector<TaggedWord>& words) override;

 private:
  TaggedWord read_word(std::string_view line);

  LineReader lines_;
  std::size_t columns_ = 0;  // of the first line
};

/// Sentences as rows: a list of words and a list of as many tags, names or numbers of classes; null
/// and -100 are no tag.
class SentenceRows : public SentenceReader {
 public:
  SentenceRows(const std::filesystem::path& path, std::string words_column,
               std::string tags_column);
  bool next(std::vector<TaggedWord>& words) override;

 private:
  std::unique_ptr<RowReader> rows_;
  std::string words_column_, tags_column_;
};

}  // namespace diffllama
