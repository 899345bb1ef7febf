#include "tasks/answer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/utf8.h"
#include "tasks/characters.h"
#include "tasks/ragged_forward.h"
#include "training/data/context_windows.h"

namespace diffllama {
namespace {

WindowOptions window_options(const Tokenizer& tokenizer, const AnswerOptions& options) {
  constexpr std::int64_t kMaxSeqLength = 384, kDocStride = 128;
  if (options.top_k < 1) {
    throw InvalidArgument("[top_k] expected at least 1, got " + std::to_string(options.top_k));
  }
  if (options.max_answer_length < 1) {
    throw InvalidArgument("[max_answer_length] expected at least 1, got " +
                          std::to_string(options.max_answer_length));
  }
  WindowOptions windows;
  windows.max_length = options.max_seq_length.value_or(
      std::min(kMaxSeqLength, tokenizer.model_max_length().value_or(kMaxSeqLength)));
  if (windows.max_length < 1) {
    throw InvalidArgument("[max_seq_length] expected at least 1, got " +
                          std::to_string(windows.max_length));
  }
  windows.stride = options.doc_stride.value_or(std::min(windows.max_length / 2, kDocStride));
  if (windows.stride < 0 || windows.stride > windows.max_length) {
    throw InvalidArgument("[doc_stride] expected 0..max_seq_length, which is " +
                          std::to_string(windows.max_length) + ", got " +
                          std::to_string(windows.stride));
  }
  return windows;
}

/// A question's windows, and where the tokens of its context lie.
class EncodedQuestion {
 public:
  /// Throws InvalidArgument for an empty question or context.
  EncodedQuestion(const Tokenizer& tokenizer, const Question& question,
                  const WindowOptions& options)
      : question_(replace_invalid_utf8(checked(question).question)),
        context_(replace_invalid_utf8(question.context)),
        question_characters_(question_),
        characters_(context_),
        pair_(tokenizer, question_, context_),
        pad_(tokenizer.pad_token_id()),
        windows_(pair_.windows(options)) {}
  EncodedQuestion(const EncodedQuestion&) = delete;
  EncodedQuestion& operator=(const EncodedQuestion&) = delete;

  const std::vector<ContextWindow>& windows() const { return windows_; }
  std::string_view text(std::int64_t start, std::int64_t end) const {
    return characters_.slice(start, end);
  }

  /// Whether a window's token may be an answer's first or last: those of the context may, and, as
  /// the pipeline has it, all where the context comes first.
  bool may_answer(const ContextWindow& window, std::size_t token) const {
    return pair_.context_first() || window.in_context(token);
  }
  /// Characters of the context from the first word of a window's token `start` to the last of its
  /// token `end`, as far as the window holds their tokens. Where there is no such word the tokens'
  /// own places; a token of the question has its word's number and place all the same.
  std::pair<std::int64_t, std::int64_t> word_places(const ContextWindow& window, std::size_t start,
                                                    std::size_t end) const {
    start = unpadded(window, start);
    end = unpadded(window, end);
    const auto first = first_of_word(window, pair_.word(window, start));
    const auto last = last_of_word(window, pair_.word(window, end));
    if (!first || !last) return {place(window, start).first, place(window, end).second};
    return {place(window, *first).first, place(window, *last).second};
  }

 private:
  static const Question& checked(const Question& question) {
    if (question.question.empty()) throw InvalidArgument("question: expected a text, got none");
    if (question.context.empty()) throw InvalidArgument("context: expected a text, got none");
    return question;
  }
  // The pipeline takes every pad token, those of the text too, for one that it put on the left.
  std::size_t unpadded(const ContextWindow& window, std::size_t token) const {
    if (!pair_.context_first() || !pad_) return token;
    const auto pads = static_cast<std::size_t>(std::ranges::count(window.ids, *pad_));
    return token < pads ? token + window.ids.size() - pads : token - pads;
  }
  // The first and the last token of a word of the context, as far as the window holds it.
  std::optional<std::size_t> first_of_word(const ContextWindow& window, std::int64_t word) const {
    const std::size_t end = window.context_at + window.count;
    for (std::size_t t = window.context_at; word >= 0 && t < end; ++t) {
      if (pair_.word(window, t) == word) return t;
    }
    return std::nullopt;
  }
  std::optional<std::size_t> last_of_word(const ContextWindow& window, std::int64_t word) const {
    for (std::size_t t = window.context_at + window.count; word >= 0 && t > window.context_at;) {
      if (pair_.word(window, --t) == word) return t;
    }
    return std::nullopt;
  }
  // A token's characters of its text.
  std::pair<std::int64_t, std::int64_t> place(const ContextWindow& window,
                                              std::size_t token) const {
    const TokenOffset bytes = pair_.offset(window, token);
    const Characters& characters = window.in_context(token) ? characters_ : question_characters_;
    return {characters.at_byte(bytes.begin), characters.at_byte(bytes.end)};
  }

  std::string question_, context_;
  Characters question_characters_, characters_;
  QuestionPair pair_;
  std::optional<std::int64_t> pad_;
  std::vector<ContextWindow> windows_;
};

/// Tokens of a window, from `start` to `end`, and what the head gives them.
struct Span {
  std::size_t start = 0, end = 0;
  float score = 0;
};

// The probability of each token of a window to be an answer's first (column 0) or last (1), over
// those that may be.
std::vector<float> probabilities(std::span<const float> logits, std::size_t column,
                                 const std::vector<std::uint8_t>& allowed) {
  constexpr float kHidden = -10000;
  std::vector<float> row(allowed.size());
  for (std::size_t t = 0; t < row.size(); ++t) {
    row[t] = allowed[t] != 0 ? logits[2 * t + column] : kHidden;
  }
  softmax(row);
  return row;
}

/// Answers of one question, from all of its windows.
class AnswerCollector {
 public:
  /// `cls`: a token that may stand for the empty answer, beside those of the context.
  AnswerCollector(const EncodedQuestion& question, const AnswerOptions& options,
                  std::optional<std::int64_t> cls)
      : question_(question), options_(options), cls_(cls) {}

  // logits [T, (start, end)]
  void add_window(const ContextWindow& window, std::span<const float> logits) {
    std::vector<std::uint8_t> allowed;
    for (std::size_t t = 0; t < window.ids.size(); ++t) {
      allowed.push_back(question_.may_answer(window, t) || window.ids[t] == cls_ ? 1 : 0);
    }
    std::vector<float> start = probabilities(logits, 0, allowed);
    std::vector<float> end = probabilities(logits, 1, allowed);
    null_score_ = std::min(null_score_, double{start[0] * end[0]});
    start[0] = end[0] = 0;
    // transformers looks at more than it gives, since spans of the same text become one.
    const auto most = static_cast<std::size_t>(2 * options_.top_k + 10);
    for (const Span& span : best_spans(start, end, allowed, most)) {
      if (allowed[span.start] != 0 && allowed[span.end] != 0) add(window, span);
    }
  }

  std::vector<Answer> result() && {
    if (options_.handle_impossible) {
      answers_.push_back({.answer = "", .score = null_score_, .start = 0, .end = 0});
    }
    std::ranges::stable_sort(answers_, std::ranges::greater{}, &Answer::score);
    if (std::ssize(answers_) > options_.top_k) {
      answers_.resize(static_cast<std::size_t>(options_.top_k));
    }
    return std::move(answers_);
  }

 private:
  std::vector<Span> best_spans(const std::vector<float>& start, const std::vector<float>& end,
                               const std::vector<std::uint8_t>& allowed, std::size_t most) const {
    std::vector<Span> spans;
    for (std::size_t s = 0; s < start.size(); ++s) {
      for (std::size_t e = s; e < last_end(s, end.size()); ++e) {
        const float score = start[s] * end[e];
        if (score > 0) spans.push_back({s, e, score});
      }
    }
    const auto better = [](const Span& a, const Span& b) {
      return std::tuple(b.score, a.start, a.end) < std::tuple(a.score, b.start, b.end);
    };
    const auto kept = static_cast<std::ptrdiff_t>(std::min(most, spans.size()));
    std::partial_sort(spans.begin(), spans.begin() + kept, spans.end(), better);
    spans.resize(static_cast<std::size_t>(kept));
    // Where these are few the pipeline goes on with spans of score 0, those that end before they
    // begin among them: there is always an answer.
    for (std::size_t s = 0; s < start.size() && spans.size() < most; ++s) {
      for (std::size_t e = 0; e < end.size() && spans.size() < most; ++e) {
        const bool scores = e >= s && e < last_end(s, end.size()) && start[s] * end[e] > 0;
        if (!scores && allowed[s] != 0 && allowed[e] != 0) spans.push_back({s, e, 0});
      }
    }
    return spans;
  }
  // One past the last token that a span from token `start` may end with.
  std::size_t last_end(std::size_t start, std::size_t size) const {
    return std::min(size, start + static_cast<std::size_t>(options_.max_answer_length));
  }

  void add(const ContextWindow& window, const Span& span) {
    const auto [start, end] = question_.word_places(window, span.start, span.end);
    const std::string_view text = question_.text(start, end);
    const std::u32string lower = lower_case(text);
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      if (lower_[i] != lower) continue;
      answers_[i].score += double{span.score};
      return;
    }
    answers_.push_back(
        {.answer = std::string(text), .score = double{span.score}, .start = start, .end = end});
    lower_.push_back(lower);
  }

  const EncodedQuestion& question_;
  const AnswerOptions& options_;
  std::optional<std::int64_t> cls_;
  std::vector<Answer> answers_;
  std::vector<std::u32string> lower_;  // of each
  double null_score_ = 1'000'000;      // transformers' start
};

}  // namespace

std::vector<std::vector<Answer>> answer(const TaskModel& task_model,
                                        std::span<const Question> questions,
                                        const AnswerOptions& options) {
  require_head("answer", task_model, Architecture::question_answering);
  const WindowOptions windows = window_options(task_model.tokenizer, options);
  const auto encoded = encode_inputs(task_model, questions, [&](const Question& question) {
    auto result = std::make_unique<EncodedQuestion>(task_model.tokenizer, question, windows);
    for (const ContextWindow& window : result->windows()) check_input_ids(task_model, window.ids);
    return result;
  });
  std::vector<std::vector<std::int64_t>> sequences;
  std::vector<std::pair<std::size_t, std::size_t>> places;  // question and window of each
  std::vector<AnswerCollector> collectors;
  for (std::size_t q = 0; q < encoded.size(); ++q) {
    collectors.emplace_back(*encoded[q], options, task_model.tokenizer.cls_token_id());
    for (std::size_t w = 0; w < encoded[q]->windows().size(); ++w) {
      sequences.push_back(encoded[q]->windows()[w].ids);
      places.emplace_back(q, w);
    }
  }
  RaggedForward(task_model.model, task_model.parallel)
      .run(sequences, [&](std::size_t sequence, std::span<const float> hidden) {
        const auto [q, w] = places[sequence];
        collectors[q].add_window(encoded[q]->windows()[w], head_logits(task_model, hidden));
      });
  std::vector<std::vector<Answer>> results;
  results.reserve(collectors.size());
  for (AnswerCollector& collector : collectors) results.push_back(std::move(collector).result());
  return results;
}

}  // namespace diffllama
