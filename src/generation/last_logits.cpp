#include "generation/last_logits.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "model/heads/heads.h"

namespace diffllama {

std::span<float> LastLogits::run(std::span<const Sequence> sequences) {
  const auto count = static_cast<std::int64_t>(sequences.size());
  const std::int64_t width = model_.config.hidden_size;
  float* hidden = hidden_.reserve(static_cast<std::size_t>(count * width));
  std::size_t longest = 0;
  for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.ids.size());
  grow_positions(longest);
  steps_.clear();
  for (const Sequence& sequence : sequences) {
    steps_.push_back(step(sequence, sequence.ids.size()));
    steps_.back().output = hidden + (std::ssize(steps_) - 1) * width;
  }
  model_.stack.run(steps_, scratch_, parallel_);
  const auto size = static_cast<std::size_t>(count * model_.config.vocab_size);
  float* logits = logits_.reserve(size);
  head_product(model_.weights, hidden, count, logits, rows_, parallel_);
  return {logits, size};
}

void LastLogits::run_but_last(const Sequence& sequence) {
  const std::size_t end = sequence.ids.size() - 1;
  if (std::cmp_less_equal(end, sequence.cache->length())) return;
  grow_positions(end);
  steps_.assign(1, step(sequence, end));
  model_.stack.run(steps_, scratch_, parallel_);
}

// The new tokens before `end`; the last one's row is all that is wanted.
SequenceStep LastLogits::step(const Sequence& sequence, std::size_t end) const {
  const auto done = static_cast<std::size_t>(sequence.cache->length());
  SequenceStep step;
  step.cache = sequence.cache;
  step.input_ids = sequence.ids.subspan(done, end - done);
  step.positions = std::span(positions_).subspan(done, end - done);
  step.rotary_length = std::ssize(sequence.ids);
  step.last_only = true;
  return step;
}

void LastLogits::grow_positions(std::size_t count) {
  const std::size_t known = positions_.size();
  if (count <= known) return;
  constexpr std::size_t kFirst = 4096;  // so that short sequences never see it grow
  positions_.resize(std::max({count, 2 * known, kFirst}));
  std::iota(positions_.begin() + static_cast<std::ptrdiff_t>(known), positions_.end(),
            static_cast<std::int64_t>(known));
}

}  // namespace diffllama
