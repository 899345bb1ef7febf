#include "diffllama/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

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

TEST(Tensor, BorrowsMemoryAndNeverWritesIt) {
  const auto owner = std::make_shared<const std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  const TensorView view = {DType::float32, {2, 2}, std::as_bytes(std::span(*owner))};
  Tensor tensor = Tensor::borrow(view, owner);
  EXPECT_TRUE(tensor.borrowed());
  EXPECT_EQ(owner.use_count(), 2);
  EXPECT_EQ(std::as_const(tensor).f32().data(), owner->data());
  EXPECT_THAT(std::as_const(tensor).f32(), testing::ElementsAre(1, 2, 3, 4));

  const Tensor moved = std::move(tensor);
  EXPECT_EQ(moved.f32().data(), owner->data());
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): the copy is what is tested
  const Tensor copy = moved;
  EXPECT_FALSE(copy.borrowed());
  EXPECT_EQ(owner.use_count(), 2);

  Tensor written = Tensor::borrow(view, owner);
  written.f32()[0] = 9;
  EXPECT_FALSE(written.borrowed());
  EXPECT_EQ(owner.use_count(), 2);
  EXPECT_THAT(std::as_const(written).f32(), testing::ElementsAre(9, 2, 3, 4));
  EXPECT_THAT(*owner, testing::ElementsAre(1, 2, 3, 4));
}

TEST(Tensor, BorrowsNothingThatIsEmpty) {
  const Tensor tensor = Tensor::borrow({DType::int64, {0, 7}, {}});
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): the copy is what is tested
  const Tensor copy = tensor;
  EXPECT_EQ(copy.shape(), (Shape{0, 7}));
  EXPECT_TRUE(copy.bytes().empty());
}

TEST(Tensor, RefusesToBorrowWhatDoesNotFit) {
  alignas(8) const std::array<std::byte, 17> memory = {};
  const std::span<const std::byte> bytes = memory;
  const auto refusal = [](const TensorView& view) {
    try {
      Tensor::borrow(view);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refusal({DType::float32, {3}, bytes.first(16)}),
            "[tensor] expected 12 bytes for shape [3] of float32, got 16");
  EXPECT_EQ(refusal({DType::int64, {2}, bytes.subspan(1)}),
            "[tensor] expected memory that begins at a multiple of 8 for int64, got another "
            "address");
  EXPECT_EQ(refusal({DType::uint8, {16}, bytes.subspan(1)}), "accepted");
  EXPECT_EQ(refusal({DType::q8_0, {33}, bytes}),
            "[tensor] expected rows of whole blocks of 32 for q8_0, got shape [33]");
  EXPECT_THROW(Tensor::from(TensorView{DType::float32, {3}, bytes}), InvalidArgument);
  EXPECT_THAT(Tensor::from(TensorView{DType::uint8, {2}, bytes.subspan(1, 2)}).bytes(),
              testing::Each(std::byte{0}));
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
