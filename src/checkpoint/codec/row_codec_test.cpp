#include "checkpoint/codec/row_codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

TEST(RowCodec, RoundsBfloat16) {
  const std::vector<float> values = {
      1.0F, 1.00390625F, 1.01171875F, std::nextafter(1.00390625F, 2.0F), 3.4e38F, INFINITY, -0.0F};
  std::vector<std::uint16_t> out(values.size());
  encode_row(DType::bfloat16, values, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out,
            (std::vector<std::uint16_t>{0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7f80, 0x8000}));
  const auto nan = std::bit_cast<float>(0x7f800001U);  // must not become infinity
  encode_row(DType::bfloat16, std::span(&nan, 1), std::as_writable_bytes(std::span(out).first(1)));
  EXPECT_EQ(out[0], 0x7fc0);
}

TEST(RowCodec, RefusesTypesWithoutWeights) {
  std::vector<float> values(1);
  std::vector<std::byte> bytes(8);
  EXPECT_THROW(decode_row(DType::int64, bytes, values), InvalidArgument);
  EXPECT_THROW(encode_row(DType::int64, values, bytes), InvalidArgument);
  EXPECT_FALSE(is_weight_dtype(DType::int64));
  EXPECT_FALSE(is_weight_dtype(DType::float64));
  EXPECT_TRUE(is_weight_dtype(DType::q4_1));
  EXPECT_TRUE(is_weight_dtype(DType::q6_k));
}

}  // namespace
}  // namespace diffllama
