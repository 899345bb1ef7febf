#include "diffllama/tasks.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>
#include <utility>

#include "bindings.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;

// (labels, scores) of each.
std::vector<std::pair<std::vector<std::string>, std::vector<float>>> classify_ids(
    ModelHolder& model, const TokenizerHolder& tokenizer,
    const std::vector<std::vector<std::int64_t>>& inputs, std::int64_t top_k,
    ScoreFunction function) {
  std::vector<ClassifyInput> texts;
  texts.reserve(inputs.size());
  for (const auto& ids : inputs) texts.push_back({.text = "", .text_pair = {}, .input_ids = ids});
  const auto results = compute(model, [&](const Model& each) {
    return classify(each, tokenizer.tokenizer, texts, {.top_k = top_k, .function = function});
  });
  std::vector<std::pair<std::vector<std::string>, std::vector<float>>> rows;
  rows.reserve(results.size());
  for (const Classification& result : results) rows.emplace_back(result.labels, result.scores);
  return rows;
}

// (answer, score, start, end), the best first, of each.
std::vector<std::vector<std::tuple<std::string, double, std::int64_t, std::int64_t>>> answer_texts(
    ModelHolder& model, const TokenizerHolder& tokenizer,
    const std::vector<std::pair<std::string, std::string>>& inputs, std::int64_t top_k,
    std::int64_t max_answer_length, std::optional<std::int64_t> doc_stride,
    std::optional<std::int64_t> max_seq_length, bool handle_impossible) {
  std::vector<Question> questions;
  questions.reserve(inputs.size());
  for (const auto& [question, context] : inputs) questions.push_back({question, context});
  const auto results = compute(model, [&](const Model& each) {
    return answer(each, tokenizer.tokenizer, questions,
                  {.top_k = top_k,
                   .max_answer_length = max_answer_length,
                   .doc_stride = doc_stride,
                   .max_seq_length = max_seq_length,
                   .handle_impossible = handle_impossible});
  });
  std::vector<std::vector<std::tuple<std::string, double, std::int64_t, std::int64_t>>> rows;
  for (const auto& answers : results) {
    auto& row = rows.emplace_back();
    for (const Answer& each : answers) {
      row.emplace_back(each.answer, each.score, each.start, each.end);
    }
  }
  return rows;
}

using EntityRow =
    std::tuple<std::string, float, std::int64_t, std::string, std::int64_t, std::int64_t>;

// (entity, score, index, word, start, end) of each text, or of its words where they are given.
std::vector<std::vector<EntityRow>> tag_texts(
    ModelHolder& model, const TokenizerHolder& tokenizer,
    const std::vector<std::pair<std::string, std::optional<std::vector<std::string>>>>& inputs,
    Aggregation aggregation, const std::vector<std::string>& ignore_labels) {
  std::vector<TagInput> texts;
  texts.reserve(inputs.size());
  for (const auto& [text, words] : inputs) texts.push_back({.text = text, .words = words});
  const auto results = compute(model, [&](const Model& each) {
    return tag(each, tokenizer.tokenizer, texts,
               {.aggregation = aggregation, .ignore_labels = ignore_labels});
  });
  std::vector<std::vector<EntityRow>> rows;
  for (const auto& entities : results) {
    auto& row = rows.emplace_back();
    for (const Entity& each : entities) {
      row.emplace_back(each.entity, each.score, each.index, each.word, each.start, each.end);
    }
  }
  return rows;
}

}  // namespace

void bind_tasks(nb::module_& module) {
  nb::enum_<ScoreFunction>(module, "ScoreFunction", "What turns logits into scores.")
      .value("automatic", ScoreFunction::automatic)
      .value("softmax", ScoreFunction::softmax)
      .value("sigmoid", ScoreFunction::sigmoid)
      .value("none", ScoreFunction::none);
  nb::enum_<Aggregation>(module, "Aggregation", "How tokens become entities.")
      .value("none", Aggregation::none)
      .value("simple", Aggregation::simple)
      .value("first", Aggregation::first)
      .value("average", Aggregation::average)
      .value("max", Aggregation::max);
  module.def("classify", &classify_ids, "model"_a, "tokenizer"_a, "inputs"_a, "top_k"_a,
             "function"_a);
  module.def("answer", &answer_texts, "model"_a, "tokenizer"_a, "inputs"_a, "top_k"_a,
             "max_answer_length"_a, "doc_stride"_a.none(), "max_seq_length"_a.none(),
             "handle_impossible"_a);
  module.def("tag", &tag_texts, "model"_a, "tokenizer"_a, "inputs"_a, "aggregation"_a,
             "ignore_labels"_a);
}

}  // namespace diffllama::python
