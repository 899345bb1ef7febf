#include "generation/step_logits.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "model/heads/heads.h"

namespace diffllama {

std::span<const StepLogits::Output> StepLogits::run(std::span<const Sequence> sequences) {
  std::size_t longest = 0;
  for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.ids.size());
  grow_positions(longest);
  steps_.clear();
  marks_.clear();
  for (const Sequence& sequence : sequences) {
    const auto done = static_cast<std::size_t>(sequence.cache->length());
    SequenceStep step;
    step.cache = sequence.cache;
    step.input_ids = sequence.ids.subspan(done);
    step.positions = std::span(positions_).subspan(done, step.input_ids.size());
    step.rotary_length = sequence.rotary_length;
    step.last_only = sequence.rows == Rows::last;
    steps_.push_back(std::move(step));
    marks_.push_back(sequence.cache->mark());
  }
  place_outputs(sequences);
  model_.stack.run(steps_, scratch_, parallel_);
  if (logit_rows_ == 0) return outputs_;
  try {
    head_product(model_.weights, hidden_.data(), logit_rows_, logits_.data(), rows_, parallel_);
  } catch (...) {
    for (std::size_t i = 0; i < marks_.size(); ++i) sequences[i].cache->restore(marks_[i]);
    throw;
  }
  return outputs_;
}

// Rows that the head takes lie before the others.
void StepLogits::place_outputs(std::span<const Sequence> sequences) {
  const auto width = static_cast<std::size_t>(model_.config.hidden_size);
  const auto vocabulary = static_cast<std::size_t>(model_.config.vocab_size);
  outputs_.assign(sequences.size(), {});
  std::int64_t rows = 0;
  logit_rows_ = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].rows != Rows::none) {
      outputs_[i].rows = sequences[i].rows == Rows::last ? 1 : steps_[i].tokens();
    }
    rows += outputs_[i].rows;
    if (sequences[i].logits) logit_rows_ += outputs_[i].rows;
  }
  float* with = hidden_.reserve(static_cast<std::size_t>(rows) * width);
  float* without = with + static_cast<std::size_t>(logit_rows_) * width;
  float* logits = logits_.reserve(static_cast<std::size_t>(logit_rows_) * vocabulary);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    Output& output = outputs_[i];
    if (output.rows == 0) continue;
    const auto count = static_cast<std::size_t>(output.rows);
    float*& hidden = sequences[i].logits ? with : without;
    steps_[i].output = hidden;
    output.hidden = {hidden, count * width};
    hidden += count * width;
    if (!sequences[i].logits) continue;
    output.logits = {logits, count * vocabulary};
    logits += count * vocabulary;
  }
}

std::span<float> StepLogits::last_logits(SequenceCache& cache, std::span<const std::int64_t> ids) {
  const Sequence sequence{.cache = &cache, .ids = ids, .rotary_length = std::ssize(ids)};
  return run({&sequence, 1}).front().logits;
}

void StepLogits::grow_positions(std::size_t count) {
  const std::size_t known = positions_.size();
  if (count <= known) return;
  constexpr std::size_t kFirst = 4096;  // so that short sequences never see it grow
  positions_.resize(std::max({count, 2 * known, kFirst}));
  std::iota(positions_.begin() + static_cast<std::ptrdiff_t>(known), positions_.end(),
            static_cast<std::int64_t>(known));
}

}  // namespace diffllama
