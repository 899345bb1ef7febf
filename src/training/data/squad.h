#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "training/data/bad_rows.h"

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

/// What the fields of questions in rows are called.
struct SquadColumns {
  std::string id = "id", question = "question", context = "context", answers = "answers";
};

/// The questions of a file, in its order: the JSON of SQuAD 1.1 or 2.0, or rows (RowReader) as
/// Hugging Face has them, {"id", "question", "context", "answers": {"text": [...], "answer_start":
/// [...]}}, or with members "answers.text" and "answers.answer_start"; an id may be absent.
/// answer_start counts characters. Throws IoError, and FormatError "WHERE: ..." for what is
/// missing, of a wrong type, or an answer that is not in the context where it says; `bad_rows` lets
/// such questions pass as far as it may.
std::vector<SquadQuestion> read_squad(const std::filesystem::path& path,
                                      const SquadColumns& columns, BadRows& bad_rows);

}  // namespace diffllama
