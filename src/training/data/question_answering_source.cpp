#include "training/data/question_answering_source.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "diffllama/error.h"
#include "training/data/text_encoding.h"

namespace diffllama {
namespace {

struct Window {
  std::vector<std::int64_t> ids;
  std::int64_t start = 0, end = 0;
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

class WindowCutter {
 public:
  WindowCutter(const Tokenizer& tokenizer, const QuestionAnsweringOptions& options)
      : tokenizer_(tokenizer), options_(options), special_(special_tokens_around(tokenizer)) {
    check_max_length(options.max_length, special_.count());
    const std::int64_t most = options.max_length - special_.count() - 1;
    if (options.doc_stride < 0 || options.doc_stride > most) {
      throw InvalidArgument("[data.doc_stride] expected 0.." + std::to_string(most) + ", got " +
                            std::to_string(options.doc_stride));
    }
  }

  std::vector<Window> cut(const SquadQuestion& question) const {
    const Encoding text =
        encode_at(tokenizer_, without_leading_spaces(question.question), question.where, false);
    const Encoding context = encode_at(tokenizer_, *question.context, question.where, false);
    const auto question_tokens = static_cast<std::int64_t>(text.ids.size());
    const auto context_tokens = static_cast<std::int64_t>(context.ids.size());
    const std::int64_t room = options_.max_length - special_.count() - question_tokens;
    if (room < 1 || (room <= options_.doc_stride && context_tokens > room)) {
      throw FormatError(
          question.where + ".question: expected fewer than " +
          std::to_string(options_.max_length - special_.count() - options_.doc_stride) +
          " tokens, since max_length is " + std::to_string(options_.max_length) +
          " and doc_stride " + std::to_string(options_.doc_stride) + ", got " +
          std::to_string(question_tokens));
    }
    std::vector<Window> windows;
    for (std::int64_t first = 0, end = -1; end < context_tokens;
         first = end - options_.doc_stride) {
      end = std::min(first + room, context_tokens);
      Window window;
      window.ids = special_.before;
      std::ranges::copy(text.ids, std::back_inserter(window.ids));
      const auto context_at = static_cast<std::int64_t>(window.ids.size());
      window.ids.insert(window.ids.end(), context.ids.begin() + first, context.ids.begin() + end);
      std::ranges::copy(special_.after, std::back_inserter(window.ids));
      if (window.ids.empty()) {
        throw FormatError(question.where + ": expected a question with tokens, got none");
      }
      if (!question.answers.empty()) {
        const auto places =
            std::span(context.offsets)
                .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
        find_answer(question.answers[0], places, context_at, window);
      }
      windows.push_back(std::move(window));
    }
    return windows;
  }

 private:
  const Tokenizer& tokenizer_;
  const QuestionAnsweringOptions& options_;
  SpecialTokens special_;
};

}  // namespace

QuestionAnsweringSource::QuestionAnsweringSource(const std::vector<std::filesystem::path>& files,
                                                 const Tokenizer& tokenizer,
                                                 const QuestionAnsweringOptions& options,
                                                 const Parallel& parallel)
    : pad_token_id_(options.pad_token_id) {
  const WindowCutter cutter(tokenizer, options);
  for (const std::filesystem::path& file : files) {
    const std::vector<SquadQuestion> questions = read_squad(file);
    auto next = questions.begin();
    encode_in_order<const SquadQuestion*>(
        parallel,
        [&](const SquadQuestion*& question) {
          if (next == questions.end()) return false;
          question = &*next++;
          return true;
        },
        [&](const SquadQuestion* question) { return cutter.cut(*question); },
        [&](const std::vector<Window>& windows, const SquadQuestion*) {
          for (const Window& window : windows) {
            rows_.append(window.ids);
            starts_.push_back(window.start);
            ends_.push_back(window.end);
          }
        });
  }
  require_examples(rows_.size(), files);
}

ForwardInputs QuestionAnsweringSource::collate(std::span<const std::int64_t> examples) const {
  check_examples(examples);
  ForwardInputs inputs = padded_inputs(rows_, examples, pad_token_id_);
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
