#include "checkpoint/codec/block_quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "checkpoint/codec/row_codec.h"
#include "checkpoint/safetensors/safetensors.h"

namespace diffllama {
namespace {

std::vector<std::byte> encode(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() / block_elements(dtype) * block_bytes(dtype));
  encode_row(dtype, values, bytes);
  return bytes;
}

std::vector<float> through(DType dtype, const std::vector<float>& values) {
  std::vector<float> read(values.size());
  decode_row(dtype, encode(dtype, values), read);
  return read;
}

// Root of the mean squared error over the root of the mean square.
double relative_error(DType dtype, const std::vector<float>& values) {
  const std::vector<float> read = through(dtype, values);
  double error = 0;
  double size = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    error += std::pow(double{read[i]} - double{values[i]}, 2);
    size += std::pow(double{values[i]}, 2);
  }
  return std::sqrt(error / size);
}

std::vector<float> normal_values(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

constexpr DType kSuperBlockTypes[] = {DType::q4_k, DType::q5_k, DType::q6_k};

// Ties and extremes of both signs among them.
TEST(BlockQuantizer, WritesTheBytesOfGgufPy) {
  const SafetensorsFile golden(std::filesystem::path(DIFFLLAMA_SOURCE_DIR) /
                               "tests/golden/gguf/quantized.safetensors");
  const TensorView& stored = golden.tensors().at("values");
  std::vector<float> values(static_cast<std::size_t>(element_count(stored.shape)));
  decode_row(DType::float32, stored.bytes, values);
  const std::pair<const char*, DType> types[] = {{"Q8_0", DType::q8_0},
                                                 {"Q4_0", DType::q4_0},
                                                 {"Q4_1", DType::q4_1},
                                                 {"Q5_0", DType::q5_0},
                                                 {"Q5_1", DType::q5_1}};
  for (const auto& [name, dtype] : types) {
    const std::vector<std::byte> bytes = encode(dtype, values);
    const auto expected = golden.tensors().at(name).bytes;
    ASSERT_EQ(bytes.size(), expected.size()) << name;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      ASSERT_EQ(bytes[i], expected[i]) << name << " byte " << i;
    }
  }
}

// Rounding each weight of a group of normal ones to 2^bits steps over its range of about 4.1
// standard deviations (32 weights; 3.5 for 16) costs 4.1 / (2^bits - 1) / sqrt(12) of them: 0.079,
// 0.038 and 0.016. The search must not do worse; a scale or minimum that is off by 2 % does.
TEST(BlockQuantizer, SearchesGoodScales) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const std::vector<float> values = normal_values(seed, 65536);
  EXPECT_LT(relative_error(DType::q4_k, values), 0.076);
  EXPECT_LT(relative_error(DType::q5_k, values), 0.0375);
  EXPECT_LT(relative_error(DType::q6_k, values), 0.0185);
}

// Values that blocks can hold come back as they are.
TEST(BlockQuantizer, KeepsWhatBlocksHold) {
  for (const DType dtype : kSuperBlockTypes) {
    SCOPED_TRACE(dtype_name(dtype));
    const std::vector<float> zeros(256, 0.0F);
    EXPECT_EQ(through(dtype, zeros), zeros);
    std::vector<float> steps(256);
    const int top = dtype == DType::q4_k ? 15 : 31;
    for (int i = 0; i < 256; ++i) {
      // d 1/64 and scale 63 (q6_k: 128 with a negative d), so that all is exact.
      const float unit = dtype == DType::q6_k ? 2.0F : 63.0F / 64.0F;
      const int quant = dtype == DType::q6_k ? i % 16 * 4 - 32 : i * 7 % (top + 1);
      steps[static_cast<std::size_t>(i)] = unit * static_cast<float>(quant);
    }
    EXPECT_EQ(through(dtype, steps), steps);
  }
}

// Groups without a spread, of one sign, tiny and huge ones: finite values, each within a step.
TEST(BlockQuantizer, TakesOddGroups) {
  for (const DType dtype : kSuperBlockTypes) {
    SCOPED_TRACE(dtype_name(dtype));
    for (const float value : {3.0F, -3.0F, 1e-3F, 1e-42F, 60000.0F}) {
      const std::vector<float> same(256, value);
      const float found = through(dtype, same)[17];
      EXPECT_LE(std::abs(found - value), std::abs(value) / 16 + 1e-7F) << value;
    }
    std::vector<float> alone(256, 0.0F);
    alone[100] = -5.0F;
    EXPECT_NEAR(through(dtype, alone)[100], -5.0F, 0.01F);
    EXPECT_NEAR(through(dtype, alone)[99], 0.0F, 0.01F);
  }
}

// What float16 scales cannot hold must be seen by who writes the file.
TEST(BlockQuantizer, OverflowIsVisible) {
  for (const DType dtype : {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                            DType::q4_k, DType::q5_k, DType::q6_k}) {
    std::vector<float> values(256, 1e38F);
    values[3] = -1e38F;
    bool finite = true;
    for (const float value : through(dtype, values)) finite = finite && std::isfinite(value);
    EXPECT_FALSE(finite) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace diffllama
