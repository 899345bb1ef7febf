#pragma once

#include <span>
#include <string>
#include <vector>

#include "diffllama/tasks.h"
#include "tasks/tagged_text.h"

namespace diffllama {

/// What a model gives to the tokens of a text.
struct TokenScores {
  const Tokenizer& tokenizer;
  std::span<const std::string> labels;
  std::span<const float> scores;  // [T, labels] of all ids, special ones too
};

/// The entities of a text, as the token classification pipeline of transformers makes them.
std::vector<Entity> entities_of(const TokenScores& scores, const TaggedText& text,
                                const TagOptions& options);

}  // namespace diffllama
