#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffllama/tasks.h"
#include "diffllama/tokenizer.h"

namespace diffllama {

/// A token of a text and its place there, characters.
struct TextToken {
  std::int64_t index = 0;  // among the ids
  std::string word;        // as the vocabulary writes it
  std::int64_t start = 0, end = 0;
  bool continues = false;  // the word of the token before it
};

/// A text to tag, as the model takes it.
struct TaggedText {
  std::vector<std::int64_t> ids;
  std::vector<TextToken> tokens;  // those that are not special
};

/// As the token classification pipeline of transformers tokenises.
TaggedText encode_tagged(const Tokenizer& tokenizer, const TagInput& input);

}  // namespace diffllama
