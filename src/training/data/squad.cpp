#include "training/data/squad.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/utf8.h"
#include "diffllama/error.h"
#include "training/data/data_file.h"
#include "training/data/rows.h"

namespace diffllama {
namespace {

using nlohmann::json;

// A field of an object of the file; errors name the way to it.
const json& field(const json& object, const char* name, const std::string& where) {
  if (!object.is_object() || !object.contains(name)) {
    throw FormatError(where + ": expected an object with \"" + name + "\", got " +
                      json_excerpt(object));
  }
  return object[name];
}

const json& list_field(const json& object, const char* name, const std::string& where) {
  const json& list = field(object, name, where);
  if (!list.is_array()) {
    throw FormatError(where + "." + name + ": expected a list, got " + json_excerpt(list));
  }
  return list;
}

std::string text_field(const json& object, const char* name, const std::string& where) {
  const json& text = field(object, name, where);
  if (!text.is_string()) {
    throw FormatError(where + "." + name + ": expected a string, got " + json_excerpt(text));
  }
  return text.get<std::string>();
}

std::string item(const std::string& where, const char* name, std::size_t index) {
  return where + "." + name + "[" + std::to_string(index) + "]";
}

// The byte where each character of a context begins, and its end.
std::vector<std::size_t> character_starts(const std::string& text) {
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at < text.size(); at += code_point_at(text, at).length) {
    starts.push_back(at);
  }
  starts.push_back(text.size());
  return starts;
}

SquadAnswer read_answer(const json& answer, const std::string& where, const std::string& context,
                        const std::vector<std::size_t>& starts) {
  const std::string text = text_field(answer, "text", where);
  const json& start = field(answer, "answer_start", where);
  if (!start.is_number_unsigned() || start.get<std::uint64_t>() >= starts.size()) {
    throw FormatError(where + ".answer_start: expected a character of 0.." +
                      std::to_string(starts.size() - 1) + ", got " + json_excerpt(start));
  }
  SquadAnswer result;
  result.begin = starts[start.get<std::size_t>()];
  result.end = result.begin + text.size();
  const std::size_t last =
      start.get<std::size_t>() + character_starts(text).size() - 1;  // as many characters as text
  const std::string found =
      context.substr(result.begin, starts[std::min(last, starts.size() - 1)] - result.begin);
  if (text.empty() || found != text) {
    throw FormatError(where + ".text: expected what the context holds at character " +
                      json_excerpt(start) + ", " + json_excerpt(found) + ", got " +
                      json_excerpt(text));
  }
  return result;
}

SquadQuestion read_question(const json& qa, const std::string& where,
                            const std::shared_ptr<const std::string>& context,
                            const std::vector<std::size_t>& starts) {
  SquadQuestion question;
  question.id = text_field(qa, "id", where);
  question.question = text_field(qa, "question", where);
  question.context = context;
  question.where = where;
  const auto impossible = qa.find("is_impossible");
  if (impossible != qa.end() && !impossible->is_boolean()) {
    throw FormatError(where + ".is_impossible: expected true or false, got " +
                      json_excerpt(*impossible));
  }
  if (impossible != qa.end() && impossible->get<bool>()) return question;
  const json& answers = list_field(qa, "answers", where);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    question.answers.push_back(
        read_answer(answers[i], item(where, "answers", i), *context, starts));
  }
  return question;
}

// A document of SQuAD itself.
class SquadDocument {
 public:
  SquadDocument(const std::filesystem::path& path, BadRows& bad_rows)
      : path_(path.string()), bad_rows_(bad_rows) {}

  std::vector<SquadQuestion> read(const json& document) && {
    const json& articles = list_field(document, "data", path_);
    for (std::size_t a = 0; a < articles.size(); ++a) {
      const std::string article = path_ + ": data[" + std::to_string(a) + "]";
      guarded([&] {
        const json& paragraphs = list_field(articles[a], "paragraphs", article);
        for (std::size_t p = 0; p < paragraphs.size(); ++p) {
          guarded([&] { add_paragraph(paragraphs[p], item(article, "paragraphs", p)); });
        }
      });
    }
    return std::move(questions_);
  }

 private:
  template <class Read>
  void guarded(const Read& read) {
    try {
      read();
    } catch (const BadRowsLimit&) {
      throw;
    } catch (const FormatError& error) {
      bad_rows_.skip(error.what());
    }
  }
  void add_paragraph(const json& paragraph, const std::string& where) {
    const auto context =
        std::make_shared<const std::string>(text_field(paragraph, "context", where));
    const std::vector<std::size_t> starts = character_starts(*context);
    const json& qas = list_field(paragraph, "qas", where);
    for (std::size_t q = 0; q < qas.size(); ++q) {
      guarded([&] {
        questions_.push_back(read_question(qas[q], item(where, "qas", q), context, starts));
      });
    }
  }

  std::string path_;
  BadRows& bad_rows_;
  std::vector<SquadQuestion> questions_;
};

// {"text": [...], "answer_start": [...]}
std::vector<SquadAnswer> read_answer_lists(const json& answers, const std::string& where,
                                           const std::string& context) {
  const json& texts = list_field(answers, "text", where);
  const json& starts = list_field(answers, "answer_start", where);
  if (texts.size() != starts.size()) {
    throw FormatError(where + ": expected as many answer_start as text, got " +
                      std::to_string(starts.size()) + " and " + std::to_string(texts.size()));
  }
  const std::vector<std::size_t> characters = character_starts(context);
  std::vector<SquadAnswer> result;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const json answer = {{"text", texts[i]}, {"answer_start", starts[i]}};
    result.push_back(
        read_answer(answer, where + "[" + std::to_string(i) + "]", context, characters));
  }
  return result;
}

// A field that holds more than text; a table has it as JSON.
json structured_field(const DataRow& row, const std::string& name) {
  const json& value = required_field(row, name);
  return row.of_table ? parse_json(value.get<std::string>(), row.where + ": " + name) : value;
}

// The answers' lists, in one field or, as Dataset.flatten() makes them, in one for each.
json answers_field(const DataRow& row, const std::string& name) {
  const bool flat =
      find_field(row.fields, name) == nullptr && find_field(row.fields, name + ".text") != nullptr;
  if (!flat) return structured_field(row, name);
  return {{"text", structured_field(row, name + ".text")},
          {"answer_start", structured_field(row, name + ".answer_start")}};
}

SquadQuestion read_row(const DataRow& row, const SquadColumns& columns) {
  SquadQuestion question;
  question.where = row.where;
  const json* id = find_field(row.fields, columns.id);
  question.id = id == nullptr ? row.where : id->is_string() ? id->get<std::string>() : id->dump();
  question.question = string_field(row, columns.question);
  question.context = std::make_shared<const std::string>(string_field(row, columns.context));
  question.answers = read_answer_lists(answers_field(row, columns.answers),
                                       row.where + ": " + columns.answers, *question.context);
  return question;
}

// Files of rows have a name that says so, or are a list; all others are documents.
bool is_squad_document(const std::filesystem::path& path) {
  const std::string extension = unpacked_name(path).extension().string();
  if (extension == ".jsonl" || extension == ".ndjson") return false;
  return row_format_of(path) == RowFormat::json_lines;
}

}  // namespace

std::vector<SquadQuestion> read_squad(const std::filesystem::path& path,
                                      const SquadColumns& columns, BadRows& bad_rows) {
  if (is_squad_document(path)) {
    const std::string text = replace_invalid_utf8(read_data_file(path));
    JsonLimits limits;
    limits.extra_bytes += 16 * text.size();  // many short strings, each with its own allocation
    const json document = parse_json(text, path.string(), limits);
    return SquadDocument(path, bad_rows).read(document);
  }
  std::vector<SquadQuestion> questions;
  const auto rows = RowReader::open(path);
  DataRow row;
  while (bad_rows.next_good([&] {
    if (!rows->next(row)) return false;
    questions.push_back(read_row(row, columns));
    return true;
  })) {
  }
  return questions;
}

}  // namespace diffllama
