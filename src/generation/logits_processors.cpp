#include "generation/logits_processors.h"

#include <algorithm>
#include <cmath>

namespace diffllama {
namespace {

bool inside(std::int64_t id, std::span<const float> scores) {
  return id >= 0 && id < static_cast<std::int64_t>(scores.size());
}

}  // namespace

void repetition_penalty(std::span<float> scores, std::span<const std::int64_t> ids, double penalty,
                        LogitsScratch& scratch) {
  scratch.seen.assign(scores.size(), 0);
  const auto factor = static_cast<float>(penalty);  // torch takes a scalar as its tensor's type
  for (const std::int64_t id : ids) {
    if (!inside(id, scores)) continue;
    const auto token = static_cast<std::size_t>(id);
    if (scratch.seen[token] != 0) continue;
    scratch.seen[token] = 1;
    scores[token] = scores[token] < 0 ? scores[token] * factor : scores[token] / factor;
  }
}

void no_repeat_ngram(std::span<float> scores, std::span<const std::int64_t> ids,
                     std::int64_t size) {
  if (static_cast<std::int64_t>(ids.size()) < size) return;
  const auto prefix_size = static_cast<std::size_t>(size - 1);
  const auto prefix = ids.last(prefix_size);
  for (std::size_t i = 0; i + prefix_size < ids.size(); ++i) {
    const std::int64_t next = ids[i + prefix_size];
    if (inside(next, scores) && std::ranges::equal(ids.subspan(i, prefix_size), prefix)) {
      scores[static_cast<std::size_t>(next)] = kRuledOut;
    }
  }
}

void rule_out(std::span<float> scores, std::span<const std::int64_t> tokens) {
  for (const std::int64_t id : tokens) {
    if (inside(id, scores)) scores[static_cast<std::size_t>(id)] = kRuledOut;
  }
}

void sequence_bias(std::span<float> scores, std::span<const std::int64_t> ids,
                   std::span<const SequenceBias> sequences, LogitsScratch& scratch) {
  scratch.biases.clear();
  for (const auto& [sequence, bias] : sequences) {
    const std::span<const std::int64_t> prefix(sequence.data(), sequence.size() - 1);
    if (prefix.size() > ids.size() || !inside(sequence.back(), scores)) continue;
    if (!std::ranges::equal(ids.last(prefix.size()), prefix)) continue;
    scratch.biases.emplace_back(sequence.back(), static_cast<float>(bias));
  }
  // A token's biases are added up first, as transformers does it.
  std::ranges::stable_sort(scratch.biases, {}, &std::pair<std::int64_t, float>::first);
  for (auto next = scratch.biases.begin(); next != scratch.biases.end();) {
    const std::int64_t id = next->first;
    float sum = 0;
    for (; next != scratch.biases.end() && next->first == id; ++next) sum += next->second;
    scores[static_cast<std::size_t>(id)] += sum;
  }
}

void presence_and_frequency_penalty(std::span<float> scores, std::span<const std::int64_t> ids,
                                    double presence, double frequency, LogitsScratch& scratch) {
  scratch.weights.assign(scores.size(), 0);
  for (const std::int64_t id : ids) {
    if (inside(id, scores)) ++scratch.weights[static_cast<std::size_t>(id)];
  }
  for (std::size_t id = 0; id < scores.size(); ++id) {
    const double count = scratch.weights[id];
    if (count > 0) scores[id] -= static_cast<float>(presence + count * frequency);
  }
}

void force(std::span<float> scores, std::span<const std::int64_t> tokens) {
  std::ranges::fill(scores, kRuledOut);
  for (const std::int64_t id : tokens) {
    if (inside(id, scores)) scores[static_cast<std::size_t>(id)] = 0;
  }
}

void exponential_decay(std::span<float> scores, std::span<const std::int64_t> eos_token_ids,
                       double factor, std::int64_t steps) {
  const auto growth = static_cast<float>(std::pow(factor, static_cast<double>(steps)) - 1);
  for (const std::int64_t id : eos_token_ids) {
    if (!inside(id, scores)) continue;
    float& score = scores[static_cast<std::size_t>(id)];
    if (std::isfinite(score)) score += std::abs(score) * growth;
  }
}

void renormalize(std::span<float> scores) {
  const double largest = std::ranges::max(scores);
  if (!std::isfinite(largest)) return;
  double total = 0;
  for (const float score : scores) total += std::exp(score - largest);
  const double log_total = largest + std::log(total);
  for (float& score : scores) score = static_cast<float>(score - log_total);
}

}  // namespace diffllama
