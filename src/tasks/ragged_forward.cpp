#include "tasks/ragged_forward.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace diffllama {
namespace {

// Each sequence has a cache of at least one block of 256 keys.
constexpr std::size_t kMostSequences = 64;

std::int64_t length_of(const std::vector<std::int64_t>& sequence) { return std::ssize(sequence); }

}  // namespace

RaggedForward::RaggedForward(const ForwardModel& model, const Parallel& parallel)
    : model_(model),
      parallel_(parallel),
      blocks_(model.stack.make_cache().layout().block, std::numeric_limits<std::int32_t>::max()) {}

void RaggedForward::run(std::span<const std::vector<std::int64_t>> sequences, const Take& take,
                        bool last_only) {
  for (std::size_t first = 0; first < sequences.size();) {
    std::size_t end = first;
    std::int64_t tokens = 0;
    while (end < sequences.size() && end - first < kMostSequences) {
      tokens += length_of(sequences[end]);
      if (end > first && tokens > model_.stack.prefill_chunk()) break;
      ++end;
    }
    run_step(sequences.subspan(first, end - first), first, take, last_only);
    first = end;
  }
}

void RaggedForward::run_step(std::span<const std::vector<std::int64_t>> sequences,
                             std::size_t first, const Take& take, bool last_only) {
  std::int64_t tokens = 0, longest = 0;
  for (const auto& sequence : sequences) {
    tokens += length_of(sequence);
    longest = std::max(longest, length_of(sequence));
  }
  if (std::ssize(positions_) < longest) {
    positions_.resize(static_cast<std::size_t>(longest));
    std::iota(positions_.begin(), positions_.end(), std::int64_t{0});
  }
  std::vector<SequenceCache> caches;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    caches.push_back(model_.stack.make_cache(CacheType::automatic, &blocks_));
  }
  const std::int64_t width = model_.config.hidden_size;
  const float* hidden = hidden_.reserve(static_cast<std::size_t>(tokens * width));
  std::vector<SequenceStep> steps(sequences.size());
  float* output = hidden_.data();
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    steps[i].cache = &caches[i];
    steps[i].input_ids = sequences[i];
    steps[i].positions = std::span(positions_).first(sequences[i].size());
    steps[i].rotary_length = length_of(sequences[i]);
    steps[i].last_only = last_only;
    steps[i].output = output;
    output += (last_only ? 1 : length_of(sequences[i])) * width;
  }
  model_.stack.run(steps, scratch_, parallel_);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int64_t values = (last_only ? 1 : length_of(sequences[i])) * width;
    take(first + i, {hidden, static_cast<std::size_t>(values)});
    hidden += values;
  }
}

}  // namespace diffllama
