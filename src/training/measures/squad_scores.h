#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace diffllama {

/// An answer as SQuAD's script compares it: in lower case, without punctuation (ASCII's), without
/// the words a, an and the, with one space between words.
std::string normalized_answer(std::string_view answer);

/// Of one prediction, 0 to 1.
struct SquadScore {
  double exact_match = 0, f1 = 0;
};

/// The best over the answers, as SQuAD 2.0's script has it: answers that normalise to nothing do
/// not count, and where none counts the right prediction is nothing.
SquadScore squad_score(std::string_view prediction, const std::vector<std::string>& answers);

}  // namespace diffllama
