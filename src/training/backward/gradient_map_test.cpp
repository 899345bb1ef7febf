#include "training/backward/gradient_map.h"

#include <gtest/gtest.h>

#include <vector>

namespace diffllama {
namespace {

class GradientMapTest : public testing::Test {
 protected:
  GradientMapTest() {
    map_.add("weight", weight_);
    map_.add("bias", bias_);
  }

  Parallel parallel_{2};
  std::vector<float> weight_ = std::vector<float>(3 << 20, 1.0F);  // several tasks
  std::vector<float> bias_ = {2.0F, 3.0F};
  GradientMap map_{parallel_};
};

TEST_F(GradientMapTest, AddsToWhatItWasGiven) {
  EXPECT_EQ(map_.find("bias"), bias_.data());
  const GradientMap::Target target = map_.find_whole("weight");
  EXPECT_EQ(target.sum, weight_.data());
  EXPECT_TRUE(target.accumulate);
  map_.complete();
  EXPECT_EQ(bias_, (std::vector<float>{2.0F, 3.0F}));
  EXPECT_EQ(weight_, std::vector<float>(weight_.size(), 1.0F));
}

TEST_F(GradientMapTest, OnlyTheFirstWriterAfterAClearWrites) {
  map_.clear();
  EXPECT_FALSE(map_.find_whole("weight").accumulate);
  EXPECT_TRUE(map_.find_whole("weight").accumulate);
  EXPECT_EQ(weight_.back(), 1.0F);  // its own business
}

TEST_F(GradientMapTest, WhoFindsAGradientAddsToZeros) {
  map_.clear();
  EXPECT_EQ(map_.find("bias")[1], 0.0F);
  map_.find("bias")[1] = 5.0F;
  EXPECT_EQ(map_.find("bias")[1], 5.0F);
  EXPECT_TRUE(map_.find_whole("bias").accumulate);
}

TEST_F(GradientMapTest, WhatNobodyAddedToIsZero) {
  map_.clear();
  map_.find("bias")[0] = 7.0F;
  map_.complete();
  EXPECT_EQ(weight_, std::vector<float>(weight_.size(), 0.0F));
  EXPECT_EQ(bias_, (std::vector<float>{7.0F, 0.0F}));
}

TEST_F(GradientMapTest, FrozenParametersHaveNone) {
  EXPECT_EQ(map_.find("other"), nullptr);
  EXPECT_EQ(map_.find_whole("other").sum, nullptr);
  EXPECT_FALSE(map_.contains("other"));
  EXPECT_TRUE(map_.contains("weight"));
}

}  // namespace
}  // namespace diffllama
