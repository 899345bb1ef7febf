#pragma once

#include <filesystem>
#include <vector>

#include "training/data/line_reader.h"
#include "training/data/tagged_sentences.h"

namespace diffllama {

/// The sentences of a CoNLL-U file (universaldependencies.org/format.html), one after another: the
/// syntactic words, without the lines of multiword tokens (3-4) and of empty nodes (5.1). Spaces
/// follow SpaceAfter=No; none is inside a multiword token. "_" is no tag.
class ConlluReader : public SentenceReader {
 public:
  /// Throws IoError.
  ConlluReader(std::filesystem::path path, ConlluColumn column);
  bool next(std::vector<TaggedWord>& words) override;

 private:
  class Sentence;
  bool read_sentence(std::vector<TaggedWord>& words);

  LineReader lines_;
  ConlluColumn column_;
  bool at_start_ = true;
  bool at_sentence_end_ = true;  // the last line was blank
};

}  // namespace diffllama
