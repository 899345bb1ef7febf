#include "diffllama/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "diffllama/error.h"

namespace diffllama {
namespace {

TEST(Tensor, StartsZeroAndAligned) {
  const Tensor tensor(DType::float32, {3, 5});
  EXPECT_EQ(tensor.size(), 15);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes().data()) % 64, 0);
  EXPECT_THAT(tensor.f32(), testing::Each(0.0F));
}

TEST(Tensor, ScalarsAndEmptyTensors) {
  EXPECT_EQ(Tensor(DType::float32, {}).size(), 1);
  EXPECT_EQ(Tensor(DType::int64, {0, 7}).size(), 0);
  EXPECT_EQ(Tensor().size(), 0);
  EXPECT_EQ(Tensor(Tensor()).size(), 0);
}

TEST(Tensor, CopyIsDeep) {
  Tensor first = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  const Tensor second = first;
  first.f32()[0] = 9;
  EXPECT_THAT(second.f32(), testing::ElementsAre(1, 2, 3, 4));
}

TEST(Tensor, RefusesWhatDoesNotFit) {
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  EXPECT_THROW(Tensor(DType::float32, {huge, 2}), InvalidArgument);
  EXPECT_THROW(Tensor(DType::float32, {-1}), InvalidArgument);
  EXPECT_THROW(Tensor(DType::q8_0, {2, 33}), InvalidArgument);
  EXPECT_THROW(Tensor::from(std::vector<float>{1, 2}, {3}), InvalidArgument);
  EXPECT_THROW(Tensor(DType::int64, {2}).f32(), InvalidArgument);
}

TEST(Tensor, BlockSizes) {
  EXPECT_EQ(Tensor(DType::q4_1, {2, 64}).bytes().size(), 2 * 2 * 20);
  EXPECT_EQ(Tensor(DType::q6_k, {2, 512}).bytes().size(), 2 * 2 * 210);
  EXPECT_EQ(Tensor(DType::bfloat16, {3}).bytes().size(), 6);
}

}  // namespace
}  // namespace diffllama
