#include "generation/last_logits.h"

#include <algorithm>
#include <numeric>

#include "model/heads/heads.h"

namespace diffllama {

std::span<float> LastLogits::run(std::span<const Sequence> sequences) {
  const auto count = static_cast<std::int64_t>(sequences.size());
  const std::int64_t width = model_.config.hidden_size;
  float* hidden = hidden_.reserve(static_cast<std::size_t>(count * width));
  std::size_t longest = 0;
  for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.ids.size());
  grow_positions(longest);
  steps_.resize(sequences.size());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& sequence = sequences[i];
    const auto done = static_cast<std::size_t>(sequence.cache->length());
    const std::size_t length = sequence.ids.size();
    SequenceStep& step = steps_[i];
    step.cache = sequence.cache;
    step.input_ids = sequence.ids.subspan(done);
    step.positions = std::span(positions_).subspan(done, length - done);
    step.rotary_length = static_cast<std::int64_t>(length);
    step.last_only = true;
    step.output = hidden + static_cast<std::int64_t>(i) * width;
  }
  model_.stack.forward(steps_, scratch_, parallel_);
  const auto size = static_cast<std::size_t>(count * model_.config.vocab_size);
  float* logits = logits_.reserve(size);
  head_product(model_.weights, hidden, count, logits, rows_, parallel_);
  return {logits, size};
}

void LastLogits::grow_positions(std::size_t count) {
  const std::size_t known = positions_.size();
  if (count <= known) return;
  positions_.resize(std::max(count, 2 * known));
  std::iota(positions_.begin() + static_cast<std::ptrdiff_t>(known), positions_.end(),
            static_cast<std::int64_t>(known));
}

}  // namespace diffllama
