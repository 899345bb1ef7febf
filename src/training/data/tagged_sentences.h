#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "training/data/bad_rows.h"

namespace diffllama {

/// A word of a sentence with its tag.
struct TaggedWord {
  std::string form;
  std::string tag;  // empty: none
  /// The class, where the tag is a number: names may not say which.
  std::optional<std::int64_t> tag_number;
  bool space_before = false;
  std::string where;  // "PATH:LINE"
};

/// The column of CoNLL-U that holds a word's tag.
enum class ConlluColumn { upos, xpos };

/// How tagged sentences are written.
struct TagFormat {
  /// conllu: CoNLL-U. conll: a word a line with columns between spaces or tabs, the first the word
  /// and the last its tag (BIO files, CoNLL-2003), or rows (RowReader) with lists of both.
  enum class Kind { conllu, conll };
  Kind kind = Kind::conllu;
  ConlluColumn column = ConlluColumn::upos;
  std::string words_column = "tokens";  // of rows
  std::string tags_column = "ner_tags";

  /// What messages call the tag: "UPOS", "XPOS" or "tag".
  std::string tag_name() const;
};

/// The sentences of a file, one after another.
class SentenceReader {
 public:
  /// Throws IoError, and FormatError as RowReader does.
  static std::unique_ptr<SentenceReader> open(const std::filesystem::path& path,
                                              const TagFormat& format);
  SentenceReader() = default;
  virtual ~SentenceReader() = default;
  SentenceReader(const SentenceReader&) = delete;
  SentenceReader& operator=(const SentenceReader&) = delete;

  /// Sets `words` to the next sentence's, one or more; false at the end. Throws IoError, and
  /// FormatError "PATH:LINE: ..."; the next call goes on behind the sentence.
  virtual bool next(std::vector<TaggedWord>& words) = 0;
};

/// The tags of some files, sorted; of numbers LABEL_0 to the largest. Throws FormatError where
/// there are none.
std::vector<std::string> collect_tags(const std::vector<std::filesystem::path>& files,
                                      const TagFormat& format, BadRows& bad_rows);

}  // namespace diffllama
