#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "diffllama/error.h"

namespace diffllama {

TokenLogprobs token_logprobs(std::span<const float> logits, std::int64_t token, std::int64_t top,
                             std::vector<std::int64_t>& scratch) {
  const double largest = std::ranges::max(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double total = largest + std::log(sum);
  if (!std::isfinite(total)) {
    throw Error(
        "[engine] log-probabilities: expected logits that are numbers, got NaN or infinity");
  }
  const auto logprob = [&](std::int64_t id) {
    return static_cast<float>(double{logits[static_cast<std::size_t>(id)]} - total);
  };
  TokenLogprobs result{.logprob = logprob(token), .top = {}};
  if (top == 0) return result;
  scratch.resize(logits.size());
  std::iota(scratch.begin(), scratch.end(), std::int64_t{0});
  const auto end = scratch.begin() + top;
  std::partial_sort(scratch.begin(), end, scratch.end(), [&](std::int64_t a, std::int64_t b) {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  for (auto id = scratch.begin(); id != end; ++id) result.top.push_back({*id, logprob(*id)});
  return result;
}

}  // namespace diffllama
