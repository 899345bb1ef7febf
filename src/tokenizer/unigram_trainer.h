#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tokenizer/training_words.h"

namespace diffllama {

struct UnigramTrainerOptions {
  std::size_t vocab_size = 0;         // at most so many pieces; the alphabet among them
  std::vector<std::string> alphabet;  // characters, always kept; others divide words
  std::vector<std::string> reserved;  // never a piece
};

struct UnigramPiece {
  std::string text;
  double score = 0;  // log-probability
};

/// A unigram language model (arXiv 1804.10959): from all frequent parts of words, expectation
/// maximisation and pruning of the pieces whose loss costs least, until few enough are left. The
/// most probable come first.
std::vector<UnigramPiece> train_unigram(const std::vector<TrainingWord>& words,
                                        const UnigramTrainerOptions& options);

}  // namespace diffllama
