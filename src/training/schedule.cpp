#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace diffllama {
namespace {

double ratio(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(1, whole));
}

double factor(const Schedule& schedule, std::int64_t step) {
  if (step < schedule.warmup_steps) return ratio(step, schedule.warmup_steps);
  const std::int64_t falling = schedule.total_steps - schedule.warmup_steps;
  switch (schedule.type) {
    case SchedulerType::linear:
      return std::max(0.0, ratio(schedule.total_steps - step, falling));
    case SchedulerType::cosine: {
      // Past the end the wave would rise again.
      const double progress = std::min(1.0, ratio(step - schedule.warmup_steps, falling));
      const double wave = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
      return std::max(0.0, wave * (1.0 - schedule.min_lr_rate) + schedule.min_lr_rate);
    }
    case SchedulerType::constant:
      return 1.0;
  }
  return 1.0;
}

}  // namespace

double Schedule::at(std::int64_t step) const { return learning_rate * factor(*this, step); }

}  // namespace diffllama
