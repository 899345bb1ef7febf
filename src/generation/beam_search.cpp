#include "generation/beam_search.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "base/random.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

}  // namespace

BeamSearch::BeamSearch(const Settings& settings) : settings_(settings), running_(1) {
  running_.front().node = -1;
}

void BeamSearch::step(std::span<const std::span<const float>> scores, const Ends& ends) {
  ++length_;
  // Enough that num_beams are left where all tokens that end are among them.
  const std::int64_t count =
      std::max<std::int64_t>(2, 1 + settings_.ending_tokens) * settings_.num_beams;
  candidates_.clear();
  if (settings_.samples) {
    draw(scores, count);
  } else {
    take_best(scores, count);
  }
  if (candidates_.empty() && finished_.empty()) {
    throw Error(
        "[generate] expected a token to choose from, got every one of every beam ruled out "
        "(no_repeat_ngram_size, min_new_tokens, bad_words_ids, ...)");
  }
  next_.clear();
  for (Candidate& candidate : candidates_) {
    candidate.ends = length_ >= settings_.max_new_tokens || ends(candidate.beam, candidate.id);
    if (candidate.ends || std::ssize(next_) == settings_.num_beams) continue;
    next_.push_back(
        {.parent = candidate.beam, .node = add_node(candidate), .score = candidate.score});
  }
  finish_best();
  std::swap(running_, next_);
  const bool full = std::ssize(finished_) == settings_.num_beams;
  improvable_ = improvable_ && !running_.empty() && may_improve();
  done_ = !improvable_ || (full && settings_.early_stopping == EarlyStopping::yes);
}

// The `count` largest sums, of equal ones the lower beam's and the lower id.
void BeamSearch::take_best(std::span<const std::span<const float>> scores, std::int64_t count) {
  // A heap with the worst of those kept in front; what comes later must be larger.
  const auto before_other = [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.id < b.id;
  };
  float least = kNever;
  for (std::size_t beam = 0; beam < scores.size(); ++beam) {
    const float before = running_[beam].score;
    for (std::size_t id = 0; id < scores[beam].size(); ++id) {
      const float score = before + scores[beam][id];
      if (!(score > least)) continue;
      if (std::ssize(candidates_) == count) {
        std::ranges::pop_heap(candidates_, before_other);
        candidates_.pop_back();
      }
      candidates_.push_back({.score = score,
                             .beam = static_cast<std::int64_t>(beam),
                             .id = static_cast<std::int64_t>(id)});
      std::ranges::push_heap(candidates_, before_other);
      if (std::ssize(candidates_) == count) least = candidates_.front().score;
    }
  }
  std::ranges::sort_heap(candidates_, before_other);
}

// Without replacement, each draw from the softmax of the sums that are left; the random numbers
// follow from the seed and the number of the step.
void BeamSearch::draw(std::span<const std::span<const float>> scores, std::int64_t count) {
  const std::size_t vocabulary = scores.front().size();
  double largest = kNever;
  for (std::size_t beam = 0; beam < scores.size(); ++beam) {
    largest =
        std::max(largest, double{running_[beam].score} + double{std::ranges::max(scores[beam])});
  }
  if (!std::isfinite(largest)) return;
  weights_.clear();
  for (std::size_t beam = 0; beam < scores.size(); ++beam) {
    for (const float score : scores[beam]) {
      weights_.push_back(
          std::isinf(score) ? 0.0 : std::exp(double{running_[beam].score + score} - largest));
    }
  }
  const Random random(settings_.seed, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    if (!(total > 0)) break;
    const double target =
        total * random.uniform(static_cast<std::uint64_t>((length_ - 1) * count + i));
    double sum = 0;
    std::size_t drawn = 0;
    for (std::size_t place = 0; place < weights_.size(); ++place) {
      if (weights_[place] == 0) continue;
      drawn = place;
      sum += weights_[place];
      if (sum > target) break;
    }
    weights_[drawn] = 0;
    const std::size_t beam = drawn / vocabulary, id = drawn % vocabulary;
    candidates_.push_back({.score = running_[beam].score + scores[beam][id],
                           .beam = static_cast<std::int64_t>(beam),
                           .id = static_cast<std::int64_t>(id)});
  }
  std::ranges::stable_sort(
      candidates_, [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
}

// Of the num_beams best candidates, those that end.
void BeamSearch::finish_best() {
  const bool full = std::ssize(finished_) == settings_.num_beams;
  if (full && settings_.early_stopping == EarlyStopping::yes) return;
  const auto best = std::min<std::ptrdiff_t>(settings_.num_beams, std::ssize(candidates_));
  for (const Candidate& candidate : std::span(candidates_).first(static_cast<std::size_t>(best))) {
    if (!candidate.ends) continue;
    const float score = divided(candidate.score, length_);
    const auto place =
        std::ranges::upper_bound(finished_, score, std::greater<>(), &Finished::score);
    if (place == finished_.end() && std::ssize(finished_) == settings_.num_beams) continue;
    finished_.insert(place, {.node = add_node(candidate), .score = score});
    if (std::ssize(finished_) > settings_.num_beams) finished_.pop_back();
  }
}

// Whether the best running beam can still become better than the worst that ended.
bool BeamSearch::may_improve() const {
  if (std::ssize(finished_) < settings_.num_beams) return true;
  const bool longest =
      settings_.early_stopping == EarlyStopping::never && settings_.length_penalty > 0;
  const float best = divided(running_.front().score, longest ? settings_.max_new_tokens : length_);
  return best > finished_.back().score;
}

float BeamSearch::divided(float score, std::int64_t length) const {
  const double divisor = std::pow(static_cast<double>(length), settings_.length_penalty);
  const float quotient = score / static_cast<float>(divisor);
  return std::isfinite(quotient) ? quotient : std::numeric_limits<float>::lowest();
}

std::int64_t BeamSearch::add_node(const Candidate& candidate) {
  nodes_.push_back({.before = running_[static_cast<std::size_t>(candidate.beam)].node,
                    .beam = candidate.beam,
                    .id = candidate.id});
  return nodes() - 1;
}

std::vector<std::int64_t> BeamSearch::path(std::int64_t last) const {
  std::vector<std::int64_t> path;
  for (std::int64_t i = last; i >= 0; i = node(i).before) path.push_back(i);
  std::ranges::reverse(path);
  return path;
}

}  // namespace diffllama
