#include "training/optimizer.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/gradients.h"

namespace diffllama {
namespace {

constexpr std::int64_t kChunk = std::int64_t{1} << 16;  // elements

}  // namespace

double gradient_norm(std::span<const float> gradients, const Parallel& parallel) {
  const auto size = static_cast<std::int64_t>(gradients.size());
  std::vector<double> sums(static_cast<std::size_t>((size + kChunk - 1) / kChunk));
  parallel.run(static_cast<std::int64_t>(sums.size()), [&](std::int64_t task, int) {
    const std::int64_t first = task * kChunk;
    sums[static_cast<std::size_t>(task)] =
        sum_of_squares(gradients.data() + first, std::min(kChunk, size - first));
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

double clip_scale(double norm, double max_norm) {
  if (max_norm == 0) return 1;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

AdamW::AdamW(const ParameterLayout& layout, const Options& options)
    : layout_(layout),
      options_(options),
      first_moment_(static_cast<std::size_t>(layout.size())),
      second_moment_(static_cast<std::size_t>(layout.size())) {
  for (const ParameterSlot& slot : layout.slots()) {
    for (std::int64_t first = 0; first < slot.size; first += kChunk) {
      chunks_.push_back({slot.offset + first, std::min(kChunk, slot.size - first), slot.decay});
    }
  }
}

void AdamW::step(double learning_rate, double gradient_scale, std::span<const float> gradients,
                 std::span<float> values, const Parallel& parallel) {
  assert(static_cast<std::int64_t>(values.size()) == layout_.size());
  assert(static_cast<std::int64_t>(gradients.size()) == layout_.size());
  ++steps_;
  const auto count = static_cast<double>(steps_);
  const AdamWStep decaying = {
      .learning_rate = learning_rate,
      .beta1 = options_.beta1,
      .beta2 = options_.beta2,
      .eps = options_.eps,
      .weight_decay = options_.weight_decay,
      .gradient_scale = gradient_scale,
      .bias_correction1 = 1 - std::pow(options_.beta1, count),
      .bias_correction2_sqrt = std::sqrt(1 - std::pow(options_.beta2, count))};
  AdamWStep plain = decaying;
  plain.weight_decay = 0;
  parallel.run(static_cast<std::int64_t>(chunks_.size()), [&](std::int64_t task, int) {
    const Chunk& chunk = chunks_[static_cast<std::size_t>(task)];
    adamw(chunk.decay ? decaying : plain, gradients.data() + chunk.offset,
          values.data() + chunk.offset, first_moment_.data() + chunk.offset,
          second_moment_.data() + chunk.offset, chunk.size);
  });
}

}  // namespace diffllama
