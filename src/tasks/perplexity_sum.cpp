#include "tasks/perplexity_sum.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

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

PerplexitySum::PerplexitySum(const ForwardModel& model, const Parallel& parallel,
                             std::int64_t stride)
    : model_(model),
      parallel_(parallel),
      window_(static_cast<std::size_t>(model.config.max_position_embeddings)),
      stride_(stride == 0 ? window_ : static_cast<std::size_t>(stride)),
      forward_(model, parallel) {
  require_causal_lm("[perplexity]", model.config);
  if (stride < 0 || stride > model.config.max_position_embeddings) {
    throw InvalidArgument("[stride] expected 1..max_position_embeddings, which is " +
                          std::to_string(model.config.max_position_embeddings) + ", got " +
                          std::to_string(stride));
  }
}

void PerplexitySum::add(std::span<const std::int64_t> ids) {
  check_ids("input_ids", ids, model_.config.vocab_size);
  ++documents_;
  not_taken_.emplace_back();
  std::size_t predicted = 0;  // tokens before it were predicted, or begin a window
  for (std::size_t first = 0; predicted < ids.size(); first += stride_) {
    const auto part = ids.subspan(first, std::min(window_, ids.size() - first));
    const std::size_t next = std::max<std::size_t>(predicted - first, 1);
    predicted = first + part.size();
    if (next >= part.size()) continue;
    waiting_.emplace_back(part.begin(), part.end());
    windows_.push_back({.predicted = next, .document = not_taken_.size() - 1});
    waiting_tokens_ += static_cast<std::int64_t>(part.size());
    if (waiting_tokens_ >= kTokensTogether) flush();
  }
}

std::int64_t PerplexitySum::tokens() {
  flush();
  return total_.tokens;
}

double PerplexitySum::negative_log_likelihood() {
  flush();
  return total_.negative_log_likelihood;
}

double PerplexitySum::value() {
  if (tokens() == 0) {
    throw InvalidArgument("[perplexity] expected a document of two tokens or more, got none in " +
                          std::to_string(documents_));
  }
  return std::exp(total_.negative_log_likelihood / static_cast<double>(total_.tokens));
}

std::vector<PerplexitySum::Sum> PerplexitySum::take_documents() {
  flush();
  return std::exchange(not_taken_, {});
}

void PerplexitySum::flush() {
  forward_.run(waiting_, [&](std::size_t i, std::span<const float> hidden) {
    score(waiting_[i], windows_[i], hidden);
  });
  waiting_.clear();
  windows_.clear();
  waiting_tokens_ = 0;
}

// hidden: last_hidden_state of a window's tokens, [T, C].
void PerplexitySum::score(const std::vector<std::int64_t>& ids, const Window& window,
                          std::span<const float> hidden) {
  const std::int64_t width = model_.config.hidden_size;
  const std::int64_t vocabulary = model_.config.vocab_size;
  float* logits = logits_.reserve(static_cast<std::size_t>(kLogitRows * vocabulary));
  Sum& document = not_taken_[window.document];
  std::vector<double> losses;
  // The row before a token predicts it.
  const std::int64_t end = std::ssize(ids) - 1;
  for (auto first = static_cast<std::int64_t>(window.predicted) - 1; first < end;
       first += kLogitRows) {
    const std::int64_t rows = std::min(kLogitRows, end - first);
    head_product(model_.weights, hidden.data() + first * width, rows, logits, rows_, parallel_);
    losses.assign(static_cast<std::size_t>(rows), 0);
    parallel_.run(rows, [&](std::int64_t row, int) {
      const std::span<const float> row_logits(logits + row * vocabulary,
                                              static_cast<std::size_t>(vocabulary));
      losses[static_cast<std::size_t>(row)] =
          token_loss(row_logits, ids[static_cast<std::size_t>(first + row + 1)]);
    });
    for (const double loss : losses) {
      document.negative_log_likelihood += loss;
      total_.negative_log_likelihood += loss;
    }
    document.tokens += rows;
    total_.tokens += rows;
  }
  if (std::isnan(total_.negative_log_likelihood)) {
    throw Error("[perplexity] expected logits that are numbers, got NaN");
  }
}

}  // namespace diffllama
