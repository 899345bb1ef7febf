#include "training/data/squad.h"

#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "diffllama/error.h"
#include "tokenizer/unicode.h"

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

std::string string_field(const json& object, const char* name, const std::string& where) {
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
  const std::string text = string_field(answer, "text", where);
  const json& start = field(answer, "answer_start", where);
  if (!start.is_number_unsigned() || start.get<std::uint64_t>() >= starts.size()) {
    throw FormatError(where + ".answer_start: expected a character of 0.." +
                      std::to_string(starts.size() - 1) + ", got " + json_excerpt(start));
  }
  SquadAnswer result;
  result.begin = starts[start.get<std::size_t>()];
  result.end = result.begin + text.size();
  const std::string found = context.substr(result.begin, text.size());
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
  question.id = string_field(qa, "id", where);
  question.question = string_field(qa, "question", where);
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

}  // namespace

std::vector<SquadQuestion> read_squad(const std::filesystem::path& path) {
  const std::string text = replace_invalid_utf8(read_file(path));
  JsonLimits limits;
  limits.extra_bytes += 16 * text.size();  // many short strings, each with its own allocation
  const json document = parse_json(text, path.string(), limits);
  const std::string root = path.string() + ": data";
  const json& articles = list_field(document, "data", path.string());
  std::vector<SquadQuestion> questions;
  for (std::size_t a = 0; a < articles.size(); ++a) {
    const std::string article = root + "[" + std::to_string(a) + "]";
    const json& paragraphs = list_field(articles[a], "paragraphs", article);
    for (std::size_t p = 0; p < paragraphs.size(); ++p) {
      const std::string paragraph = item(article, "paragraphs", p);
      const auto context =
          std::make_shared<const std::string>(string_field(paragraphs[p], "context", paragraph));
      const std::vector<std::size_t> starts = character_starts(*context);
      const json& qas = list_field(paragraphs[p], "qas", paragraph);
      for (std::size_t q = 0; q < qas.size(); ++q) {
        questions.push_back(read_question(qas[q], item(paragraph, "qas", q), context, starts));
      }
    }
  }
  return questions;
}

}  // namespace diffllama
