#include "training/data/question_answering_source.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "diffllama/error.h"
#include "training/data/context_windows.h"
#include "training/data/text_encoding.h"

namespace diffllama {
namespace {

struct Window {
  ContextWindow tokens;
  std::int64_t start = 0, end = 0;
};

struct Encoded {
  std::vector<Window> windows;
  std::vector<TokenOffset> offsets;  // of the context's tokens
};

// Sets the tokens that hold `answer`, where the window, whose context tokens are `places` from
// token `first` on, holds it whole.
void find_answer(const SquadAnswer& answer, std::span<const TokenOffset> places, std::int64_t first,
                 Window& window) {
  if (places.empty() || places.front().begin > answer.begin || places.back().end < answer.end) {
    return;
  }
  // The first token that reaches into the answer, and the last: a character may be several tokens,
  // which all have its place (run_qa.py would begin with the last of them and end with the first).
  std::size_t start = 0;
  while (start + 1 < places.size() && places[start].end <= answer.begin) ++start;
  std::size_t end = places.size() - 1;
  while (end > start && places[end].begin >= answer.end) --end;
  window.start = first + static_cast<std::int64_t>(start);
  window.end = first + static_cast<std::int64_t>(end);
}

std::string without_leading_spaces(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\n\r\f\v");
  return first == std::string::npos ? "" : text.substr(first);
}

class QuestionEncoder {
 public:
  QuestionEncoder(const Tokenizer& tokenizer, const QuestionAnsweringOptions& options)
      : tokenizer_(tokenizer),
        windows_{.max_length = options.max_length, .stride = options.doc_stride} {
    const std::int64_t special = special_tokens_around(tokenizer).count();
    check_max_length(options.max_length, special);
    const std::int64_t most = options.max_length - special - 1;
    if (options.doc_stride < 0 || options.doc_stride > most) {
      throw InvalidArgument("[data.doc_stride] expected 0.." + std::to_string(most) + ", got " +
                            std::to_string(options.doc_stride));
    }
  }

  Encoded encode(const SquadQuestion& question) const {
    Encoded result;
    try {
      const QuestionPair pair(tokenizer_, without_leading_spaces(question.question),
                              *question.context);
      result.offsets = pair.context_offsets();
      for (ContextWindow& window : pair.windows(windows_)) {
        if (window.ids.empty()) throw FormatError("expected a question with tokens, got none");
        result.windows.push_back({.tokens = std::move(window)});
      }
    } catch (const Error& error) {
      throw FormatError(question.where + ": " + error.what());
    }
    if (question.answers.empty()) return result;
    for (Window& window : result.windows) {
      const auto places =
          std::span(result.offsets).subspan(window.tokens.first, window.tokens.count);
      find_answer(question.answers[0], places, static_cast<std::int64_t>(window.tokens.context_at),
                  window);
    }
    return result;
  }

 private:
  const Tokenizer& tokenizer_;
  WindowOptions windows_;
};

MeasuredQuestion measured_question(const SquadQuestion& question,
                                   std::vector<TokenOffset> offsets) {
  MeasuredQuestion result = {
      .id = question.id, .context = question.context, .answers = {}, .offsets = std::move(offsets)};
  for (const SquadAnswer& answer : question.answers) {
    result.answers.push_back(question.context->substr(answer.begin, answer.end - answer.begin));
  }
  return result;
}

}  // namespace

QuestionAnsweringSource::QuestionAnsweringSource(const std::vector<std::filesystem::path>& files,
                                                 const Tokenizer& tokenizer,
                                                 const QuestionAnsweringOptions& options,
                                                 const Parallel& parallel, BadRows& bad_rows)
    : measured_(options.measured), measures_(options.measures) {
  const QuestionEncoder encoder(tokenizer, options);
  for (const std::filesystem::path& file : files) {
    const std::vector<SquadQuestion> questions = read_squad(file, options.columns, bad_rows);
    auto next = questions.begin();
    encode_in_order<const SquadQuestion*>(
        parallel, bad_rows,
        [&](const SquadQuestion*& question) {
          if (next == questions.end()) return false;
          question = &*next++;
          return true;
        },
        [&](const SquadQuestion* question) { return encoder.encode(*question); },
        [&](const Encoded& encoded, const SquadQuestion* question) {
          for (const Window& window : encoded.windows) {
            rows_.append(window.tokens.ids);
            starts_.push_back(window.start);
            ends_.push_back(window.end);
            if (measured_) {
              windows_.push_back({.question = questions_.size(),
                                  .context_at = window.tokens.context_at,
                                  .count = window.tokens.count,
                                  .first = window.tokens.first});
            }
          }
          if (measured_) questions_.push_back(measured_question(*question, encoded.offsets));
        });
  }
  require_examples(rows_.size(), files);
}

std::unique_ptr<Measurement> QuestionAnsweringSource::measurement(PredictionSink sink) const {
  if (!measured_) {
    throw InvalidArgument("[measurement] expected a source that keeps its answers, got another");
  }
  return std::make_unique<SquadMeasurement>(questions_, windows_, measures_, std::move(sink));
}

ForwardInputs QuestionAnsweringSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  ForwardInputs inputs = packed_inputs(rows_, examples);
  const Shape shape = {static_cast<std::int64_t>(examples.size())};
  inputs.start_positions.emplace(DType::int64, shape);
  inputs.end_positions.emplace(DType::int64, shape);
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const auto example = static_cast<std::size_t>(examples[b]);
    inputs.start_positions->i64()[b] = starts_[example];
    inputs.end_positions->i64()[b] = ends_[example];
  }
  return inputs;
}

}  // namespace diffllama
