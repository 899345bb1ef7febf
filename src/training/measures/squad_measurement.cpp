#include "training/measures/squad_measurement.h"

#include <algorithm>
#include <utility>

#include "training/measures/squad_scores.h"

namespace diffllama {

SquadMeasurement::SquadMeasurement(const std::vector<MeasuredQuestion>& questions,
                                   const std::vector<MeasuredWindow>& windows,
                                   const SquadMeasurementOptions& options, PredictionSink sink)
    : questions_(questions),
      windows_(windows),
      options_(options),
      sink_(std::move(sink)),
      some_without_answer_(std::ranges::any_of(
          questions, [](const MeasuredQuestion& each) { return each.answers.empty(); })),
      best_(questions.size()) {}

void SquadMeasurement::add(const MeasuredBatch& batch) {
  std::size_t first = 0;
  for (std::size_t i = 0; i < batch.examples.size(); ++i) {
    const auto end = static_cast<std::size_t>(batch.ends[i]);
    add_window(windows_[static_cast<std::size_t>(batch.examples[i])],
               batch.output.start_logits->f32().subspan(first, end - first),
               batch.output.end_logits->f32().subspan(first, end - first));
    first = end;
  }
}

void SquadMeasurement::add_window(const MeasuredWindow& window, std::span<const float> start,
                                  std::span<const float> end) {
  Best& best = best_[window.question];
  const double null_score = double{start[0]} + double{end[0]};
  best.null_score = best.seen ? std::min(best.null_score, null_score) : null_score;
  best.seen = true;
  const auto length = static_cast<std::size_t>(options_.max_answer_length);
  const std::vector<TokenOffset>& offsets = questions_[window.question].offsets;
  for (std::size_t s = 0; s < window.count; ++s) {
    for (std::size_t e = s; e < std::min(window.count, s + length); ++e) {
      const double score =
          double{start[window.context_at + s]} + double{end[window.context_at + e]};
      if (best.spans && score <= best.score) continue;
      best.spans = true;
      best.score = score;
      best.begin = offsets[window.first + s].begin;
      best.end = offsets[window.first + e].end;
    }
  }
}

std::string SquadMeasurement::prediction(std::size_t question) const {
  const Best& best = best_[question];
  const bool none =
      some_without_answer_ && best.null_score - best.score > options_.no_answer_threshold;
  if (!best.spans || none) return "";
  return questions_[question].context->substr(best.begin, best.end - best.begin);
}

Measurement::Result SquadMeasurement::result() {
  struct Sum {
    double exact_match = 0, f1 = 0, count = 0;
  };
  Sum all, with_answer, without;
  for (std::size_t q = 0; q < questions_.size(); ++q) {
    if (!best_[q].seen) continue;
    const std::string answer = prediction(q);
    const SquadScore score = squad_score(answer, questions_[q].answers);
    for (Sum* sum : {&all, questions_[q].answers.empty() ? &without : &with_answer}) {
      sum->exact_match += score.exact_match;
      sum->f1 += score.f1;
      ++sum->count;
    }
    if (sink_) {
      sink_({{"id", questions_[q].id},
             {"prediction", answer},
             {"answers", questions_[q].answers},
             {"null_score_difference", best_[q].null_score - best_[q].score}});
    }
  }
  Result result;
  result.examples = static_cast<std::int64_t>(all.count);
  const auto percent = [](double sum, double count) { return count == 0 ? 0 : 100 * sum / count; };
  result.measures = {{"exact_match", percent(all.exact_match, all.count)},
                     {"f1", percent(all.f1, all.count)}};
  if (!some_without_answer_) return result;
  result.measures.push_back(
      {"has_answer_exact_match", percent(with_answer.exact_match, with_answer.count)});
  result.measures.push_back({"has_answer_f1", percent(with_answer.f1, with_answer.count)});
  result.measures.push_back({"no_answer_exact_match", percent(without.exact_match, without.count)});
  return result;
}

}  // namespace diffllama
