#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace diffllama {

/// Bytes [begin, end) of a context.
struct SquadAnswer {
  std::size_t begin = 0, end = 0;
};

struct SquadQuestion {
  std::string id;
  std::string question;
  std::shared_ptr<const std::string> context;  // shared by the questions of a paragraph
  std::vector<SquadAnswer> answers;            // none: the context holds no answer (SQuAD 2.0)
  std::string where;                           // "PATH: data[0].paragraphs[3].qas[1]"
};

/// The questions of a file in the JSON of SQuAD 1.1 or 2.0, in its order. answer_start counts
/// characters. Throws IoError, and FormatError "WHERE: ..." for what is missing, of a wrong type,
/// or an answer that is not in the context where it says.
std::vector<SquadQuestion> read_squad(const std::filesystem::path& path);

}  // namespace diffllama
