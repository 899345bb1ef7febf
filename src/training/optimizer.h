#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "training/parameter_layout.h"

namespace diffllama {

/// sqrt of the sum of squares of a flat array of gradients, in float64: chunks of 2^16 elements,
/// each summed by kernels/gradients.h, added in ascending order. Threads change no bit.
double gradient_norm(std::span<const float> gradients, const Parallel& parallel);

/// What gradients are multiplied with before a step so that their norm is at most `max_norm`:
/// torch.nn.utils.clip_grad_norm_'s min(1, max_norm / (norm + 1e-6)); 1 for max_norm 0.
double clip_scale(double norm, double max_norm);

/// torch.optim.AdamW over flat float32 arrays: decay is decoupled, and applies to the slots that
/// say so.
class AdamW {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0;
  };

  /// `layout` must outlive it. Moments start at zero.
  AdamW(const ParameterLayout& layout, const Options& options);

  /// One step on values [layout.size()] by gradients, each multiplied by `gradient_scale` first.
  /// Threads change no bit.
  void step(double learning_rate, double gradient_scale, std::span<const float> gradients,
            std::span<float> values, const Parallel& parallel);

  // The state: flat arrays of layout.size(), and the steps done, for the bias correction.
  std::span<float> first_moment() { return first_moment_; }    // torch's exp_avg
  std::span<float> second_moment() { return second_moment_; }  // torch's exp_avg_sq
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

 private:
  struct Chunk {
    std::int64_t offset, size;
    bool decay;
  };

  const ParameterLayout& layout_;
  Options options_;
  std::vector<Chunk> chunks_;  // pieces of slots, which fit a second-level cache
  std::vector<float> first_moment_, second_moment_;
  std::int64_t steps_ = 0;
};

}  // namespace diffllama
