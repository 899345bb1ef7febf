#include "tasks/perplexity_sum.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "config/causal_lm.h"
#include "diffllama/error.h"
#include "model/forward_batch.h"
#include "model/heads/heads.h"

namespace diffllama {
namespace {

constexpr std::int64_t kTokensTogether = 2048;
constexpr std::int64_t kLogitRows = 64;  // rows of logits held at once

// -log softmax(logits)[target]
double token_loss(std::span<const float> logits, std::int64_t target) {
  const double largest = std::ranges::max(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) + largest - logits[static_cast<std::size_t>(target)];
}

}  // namespace

PerplexitySum::PerplexitySum(const ForwardModel& model, const Parallel& parallel)
    : model_(model), parallel_(parallel) {
  require_causal_lm("[perplexity]", model.config);
}

void PerplexitySum::add(std::span<const std::int64_t> ids) {
  check_ids("input_ids", ids, model_.config.vocab_size);
  ++documents_;
  const auto window = static_cast<std::size_t>(model_.config.max_position_embeddings);
  for (std::size_t first = 0; first + 1 < ids.size(); first += window) {
    const auto part = ids.subspan(first, std::min(window, ids.size() - first));
    if (part.size() < 2) break;
    windows_.emplace_back(part.begin(), part.end());
    waiting_tokens_ += static_cast<std::int64_t>(part.size());
    if (waiting_tokens_ >= kTokensTogether) flush();
  }
}

std::int64_t PerplexitySum::tokens() {
  flush();
  return tokens_;
}

double PerplexitySum::negative_log_likelihood() {
  flush();
  return sum_;
}

double PerplexitySum::value() {
  if (tokens() == 0) {
    throw InvalidArgument("[perplexity] expected a document of two tokens or more, got none in " +
                          std::to_string(documents_));
  }
  return std::exp(sum_ / static_cast<double>(tokens_));
}

void PerplexitySum::flush() {
  if (windows_.empty()) return;
  const std::int64_t width = model_.config.hidden_size;
  const auto size = static_cast<std::size_t>(waiting_tokens_ * width);
  float* hidden = hidden_.reserve(size);
  std::size_t longest = 0;
  for (const auto& window : windows_) longest = std::max(longest, window.size());
  std::vector<std::int64_t> positions(longest);
  std::iota(positions.begin(), positions.end(), 0);

  std::vector<SequenceCache> caches;
  for (std::size_t i = 0; i < windows_.size(); ++i) caches.push_back(model_.stack.make_cache());
  std::vector<SequenceStep> steps(windows_.size());
  float* output = hidden;
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    steps[i].cache = &caches[i];
    steps[i].input_ids = windows_[i];
    steps[i].positions = std::span(positions).first(windows_[i].size());
    steps[i].rotary_length = static_cast<std::int64_t>(windows_[i].size());
    steps[i].output = output;
    output += steps[i].tokens() * width;
  }
  model_.stack.run(steps, scratch_, parallel_);
  score_windows({hidden, size});
  windows_.clear();
  waiting_tokens_ = 0;
}

// hidden: last_hidden_state of all windows' tokens, one after another, [N, C].
void PerplexitySum::score_windows(std::span<const float> hidden) {
  const std::int64_t width = model_.config.hidden_size;
  const std::int64_t vocabulary = model_.config.vocab_size;
  float* logits = logits_.reserve(static_cast<std::size_t>(kLogitRows * vocabulary));
  std::vector<double> losses;
  const float* states = hidden.data();
  for (const auto& window : windows_) {
    const auto predicted = static_cast<std::int64_t>(window.size()) - 1;
    for (std::int64_t first = 0; first < predicted; first += kLogitRows) {
      const std::int64_t rows = std::min(kLogitRows, predicted - first);
      head_product(model_.weights, states + first * width, rows, logits, rows_, parallel_);
      losses.assign(static_cast<std::size_t>(rows), 0);
      parallel_.run(rows, [&](std::int64_t row, int) {
        const std::span<const float> row_logits(logits + row * vocabulary,
                                                static_cast<std::size_t>(vocabulary));
        losses[static_cast<std::size_t>(row)] =
            token_loss(row_logits, window[static_cast<std::size_t>(first + row + 1)]);
      });
      for (const double loss : losses) sum_ += loss;
    }
    tokens_ += predicted;
    states += (predicted + 1) * width;
  }
  if (std::isnan(sum_)) {
    throw Error("[perplexity] expected logits that are numbers, got NaN");
  }
}

}  // namespace diffllama
