#pragma once

#include <cstdint>

namespace diffllama {

/// How the learning rate falls after warm-up. transformers' lr_scheduler_type: linear, cosine,
/// constant (with warm-up: its constant_with_warmup).
enum class SchedulerType { linear, cosine, constant };

/// The learning rate of each step: a pure function, without state.
struct Schedule {
  SchedulerType type = SchedulerType::linear;
  double learning_rate = 0;       // the peak, reached when warm-up ends
  std::int64_t warmup_steps = 0;  // rises linearly; step 0 has rate 0
  std::int64_t total_steps = 0;   // linear and cosine reach their end here
  double min_lr_rate = 0;         // cosine: share of the peak that it ends at

  /// Of step `step`, counted from 0: transformers' get_linear_schedule_with_warmup,
  /// get_cosine_schedule_with_warmup (half a wave), get_cosine_with_min_lr_schedule_with_warmup and
  /// get_constant_schedule_with_warmup, in float64.
  double at(std::int64_t step) const;
};

}  // namespace diffllama
