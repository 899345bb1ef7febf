#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "training/data/line_reader.h"

namespace diffllama {

/// The column that holds a word's tag.
enum class ConlluColumn { upos, xpos };
/// "UPOS", "XPOS"
const char* conllu_column_name(ConlluColumn column);

struct ConlluWord {
  std::string form;
  std::string tag;  // "_": none
  bool space_before = false;
  std::string where;  // "PATH:LINE"
};

/// The sentences of a CoNLL-U file (universaldependencies.org/format.html), one after another: the
/// syntactic words, without the lines of multiword tokens (3-4) and of empty nodes (5.1). Spaces
/// follow SpaceAfter=No; none is inside a multiword token.
class ConlluReader {
 public:
  /// Throws IoError.
  ConlluReader(std::filesystem::path path, ConlluColumn column);
  /// Sets `words` to the next sentence's, one or more; false at the end. Throws IoError,
  /// FormatError "PATH:LINE: FIELD: expected X, got Y".
  bool next(std::vector<ConlluWord>& words);

 private:
  class Sentence;
  LineReader lines_;
  ConlluColumn column_;
  bool at_start_ = true;
};

/// The tags of some files, sorted. Throws FormatError where there are none.
std::vector<std::string> collect_tags(const std::vector<std::filesystem::path>& files,
                                      ConlluColumn column);

}  // namespace diffllama
