#include "training/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace diffllama {
namespace {

// What the definitions give, worked out by hand: every value is a few roundings from exact.
constexpr double kTolerance = 1e-15;

void expect_rate(const Schedule& schedule, std::int64_t step, double expected) {
  const double difference = std::abs(schedule.at(step) - expected);
  EXPECT_FALSE(!(difference <= kTolerance))
      << "step " << step << ": expected " << expected << ", got " << schedule.at(step);
}

Schedule schedule_of(SchedulerType type) {
  return {.type = type, .learning_rate = 0.1, .warmup_steps = 4, .total_steps = 14};
}

TEST(Schedule, WarmsUpLinearlyFromZero) {
  for (const auto type : {SchedulerType::linear, SchedulerType::cosine, SchedulerType::constant}) {
    const Schedule schedule = schedule_of(type);
    expect_rate(schedule, 0, 0.0);
    expect_rate(schedule, 1, 0.025);
    expect_rate(schedule, 3, 0.075);
    expect_rate(schedule, 4, 0.1);
  }
}

TEST(Schedule, LinearFallsToZeroAtTheLastStep) {
  const Schedule schedule = schedule_of(SchedulerType::linear);
  expect_rate(schedule, 5, 0.09);
  expect_rate(schedule, 9, 0.05);
  expect_rate(schedule, 13, 0.01);
  expect_rate(schedule, 14, 0.0);
  expect_rate(schedule, 100, 0.0);
}

TEST(Schedule, CosineIsHalfAWave) {
  const Schedule schedule = schedule_of(SchedulerType::cosine);
  expect_rate(schedule, 9, 0.05);                                    // cos(pi / 2) = 0
  expect_rate(schedule, 6, 0.05 * (1 + (1 + std::sqrt(5.0)) / 4));   // cos(pi / 5)
  expect_rate(schedule, 12, 0.05 * (1 - (1 + std::sqrt(5.0)) / 4));  // cos(4 pi / 5)
  expect_rate(schedule, 14, 0.0);
  expect_rate(schedule, 100, 0.0);
}

TEST(Schedule, CosineEndsAtTheMinimum) {
  Schedule schedule = schedule_of(SchedulerType::cosine);
  schedule.min_lr_rate = 0.1;
  expect_rate(schedule, 2, 0.05);
  expect_rate(schedule, 4, 0.1);
  expect_rate(schedule, 9, 0.1 * (0.5 * 0.9 + 0.1));
  expect_rate(schedule, 14, 0.01);
  expect_rate(schedule, 100, 0.01);
}

TEST(Schedule, ConstantStays) {
  const Schedule schedule = schedule_of(SchedulerType::constant);
  expect_rate(schedule, 5, 0.1);
  expect_rate(schedule, 1000, 0.1);
}

TEST(Schedule, WithoutWarmUpStartsAtThePeak) {
  for (const auto type : {SchedulerType::linear, SchedulerType::cosine, SchedulerType::constant}) {
    Schedule schedule = schedule_of(type);
    schedule.warmup_steps = 0;
    expect_rate(schedule, 0, 0.1);
  }
}

TEST(Schedule, WarmUpAsLongAsTheRunNeverDividesByZero) {
  for (const auto type : {SchedulerType::linear, SchedulerType::cosine, SchedulerType::constant}) {
    Schedule schedule = schedule_of(type);
    schedule.warmup_steps = schedule.total_steps;
    EXPECT_TRUE(std::isfinite(schedule.at(13)));
    EXPECT_TRUE(std::isfinite(schedule.at(14)));
  }
}

}  // namespace
}  // namespace diffllama
