#include "kernels/quantized_panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "diffllama/error.h"
#include "kernels/matmul.h"
#include "kernels/quantized_rows.h"
#include "kernels/reference/panel_product.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr PanelFormat kFormats[] = {PanelFormat::q8_0, PanelFormat::q4_0, PanelFormat::q4_1,
                                    PanelFormat::q5_0, PanelFormat::q5_1, PanelFormat::q4_k,
                                    PanelFormat::q5_k, PanelFormat::q6_k};

std::int64_t depth_of(PanelFormat format) { return quant_layout(format).block_depth(); }

/// Where the float16 numbers of a file's block lie.
std::vector<std::size_t> half_places(PanelFormat format) {
  if (format == PanelFormat::q6_k) return {208};
  if (quant_layout(format).halves == 2) return {0, 2};
  return {0};
}

/// The values of a block of a file, from GGUF's description of the format alone (not from panels).
std::vector<float> block_values(PanelFormat format, const std::uint8_t* block) {
  const auto half = [&](std::size_t at) {
    return float16_to_float(static_cast<std::uint16_t>(block[at] | block[at + 1] << 8));
  };
  std::vector<float> values(static_cast<std::size_t>(depth_of(format)));
  for (std::size_t t = 0; t < values.size(); ++t) {
    float scale = half(format == PanelFormat::q6_k ? 208 : 0);
    int quant = 0;
    float minimum = 0.0F;
    const std::size_t b = t / 32;  // of eight, where a block has 256
    const auto nibble = [&](std::size_t quants) {
      return block[quants + t % 16] >> (t < 16 ? 0 : 4) & 15;
    };
    const auto fifth = [&](std::size_t at) { return (block[at + t / 8] >> t % 8 & 1) << 4; };
    switch (format) {
      case PanelFormat::q8_0:
        quant = block[2 + t] < 128 ? block[2 + t] : block[2 + t] - 256;
        break;
      case PanelFormat::q4_0:
        quant = nibble(2) - 8;
        break;
      case PanelFormat::q4_1:
        quant = nibble(4);
        minimum = half(2);
        break;
      case PanelFormat::q5_0:
        quant = (nibble(6) | fifth(2)) - 16;
        break;
      case PanelFormat::q5_1:
        quant = nibble(8) | fifth(4);
        minimum = half(2);
        break;
      case PanelFormat::q6_k: {
        const std::size_t in_half = t % 128;
        const int low = block[t / 128 * 64 + in_half % 64] >> (in_half < 64 ? 0 : 4) & 15;
        const int high = block[128 + t / 128 * 32 + t % 32] >> (in_half / 32 * 2) & 3;
        quant = (low | high << 4) - 32;
        scale *= static_cast<float>(static_cast<std::int8_t>(block[192 + t / 16]));
        break;
      }
      default: {
        const std::uint8_t* packed = block + 4;
        const int six = b < 4 ? packed[b] & 63 : (packed[b + 4] & 15) | packed[b - 4] >> 6 << 4;
        const int six_minimum =
            b < 4 ? packed[b + 4] & 63 : packed[b + 4] >> 4 | packed[b] >> 6 << 4;
        const bool five = format == PanelFormat::q5_k;
        quant = block[(five ? 48 : 16) + b / 2 * 32 + t % 32] >> (b % 2 * 4) & 15;
        if (five) quant |= (block[16 + t % 32] >> b & 1) << 4;
        scale *= static_cast<float>(six);
        minimum = -(half(2) * static_cast<float>(six_minimum));
      }
    }
    values[t] = scale * static_cast<float>(quant);
    if (quant_layout(format).halves == 2) values[t] += minimum;
  }
  return values;
}

/// A matrix of random blocks as a GGUF file has them, and the values that they stand for.
struct Blocks {
  Blocks(std::mt19937& random, PanelFormat which, std::int64_t rows, std::int64_t columns)
      : format(which), n(rows), k(columns) {
    std::uniform_real_distribution<float> scales(-0.1F, 0.1F);
    const std::size_t size = file_block_bytes(format);
    bytes.resize(static_cast<std::size_t>(n * (k / depth_of(format))) * size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    for (std::size_t at = 0; at < bytes.size(); at += size) {
      for (const std::size_t place : half_places(format)) {
        const std::uint16_t half = float_to_float16(scales(random));
        std::memcpy(&bytes[at + place], &half, sizeof(half));
      }
      const auto block =
          block_values(format, reinterpret_cast<const std::uint8_t*>(bytes.data()) + at);
      values.insert(values.end(), block.begin(), block.end());
    }
  }

  std::span<const std::byte> row(std::int64_t i) const {
    const std::size_t size = bytes.size() / static_cast<std::size_t>(n);
    return std::span(bytes).subspan(static_cast<std::size_t>(i) * size, size);
  }
  PackedMatrix packed(int threads = 1) const {
    return PackedMatrix::of_blocks(
        format, n, k, [this](std::int64_t i) { return row(i); }, Parallel(threads));
  }

  PanelFormat format;
  std::int64_t n, k;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

TEST(QuantizedPanels, GiveTheValuesOfTheFileBack) {
  std::mt19937 random(1);
  for (const PanelFormat format : kFormats) {
    for (const auto& [n, blocks_a_row] :
         {std::pair{1, 1}, std::pair{33, 2}, std::pair{5, 0}, std::pair{96, 9}}) {
      const std::int64_t k = blocks_a_row * depth_of(format);
      const Blocks blocks(random, format, n, k);
      const PackedMatrix packed = blocks.packed(2);
      if (n % 32 == 0) {
        const bool wider = format == PanelFormat::q4_k || format == PanelFormat::q5_k;
        const auto more = static_cast<std::size_t>(wider ? 4 * n * blocks_a_row : 0);
        EXPECT_EQ(packed.bytes(), blocks.bytes.size() + more) << panel_format_name(format);
      }
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t t = 0; t < k; ++t) {
          ASSERT_EQ(reference::panel_value(format, packed.panels(), packed.panel_stride(), i, t),
                    blocks.values[static_cast<std::size_t>(i * k + t)])
              << panel_format_name(format) << " row " << i << " k " << t;
        }
      }
    }
  }
}

/// Quantised rows, `extra` bytes apart.
struct Rows {
  Rows(const std::vector<float>& x, std::int64_t m, std::int64_t k, std::int64_t extra)
      : stride(quantized_row_bytes(k) + extra), bytes(static_cast<std::size_t>(m * stride + 1)) {
    for (std::int64_t i = 0; i < m; ++i) {
      quantize_row(x.data() + i * k, k, bytes.data() + i * stride);
    }
  }
  std::int64_t stride;
  std::vector<std::byte> bytes;
};

std::vector<float> product(const PackedMatrix& w, const Rows& a, std::int64_t m,
                           const std::function<void(const PanelArgs&)>& multiply) {
  constexpr float kGuard = 12345.0F;
  const std::int64_t ldc = w.n() + 1;
  std::vector<float> c(static_cast<std::size_t>(m * ldc + 1), kGuard);
  PanelArgs args{.a = a.bytes.data(), .lda = a.stride, .m = m, .panels = w.panels()};
  args.panel_stride = w.panel_stride();
  args.columns = w.n();
  args.k = w.k();
  args.c = c.data() + 1;
  args.ldc = ldc;
  multiply(args);
  for (std::int64_t i = 0; i <= m; ++i) EXPECT_EQ(c[static_cast<std::size_t>(i * ldc)], kGuard);
  return c;
}

class QuantizedProductOnIsa : public testing::TestWithParam<Isa> {};

TEST_P(QuantizedProductOnIsa, HasTheBitsOfTheReference) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  for (const PanelFormat format : kFormats) {
    for (int trial = 0; trial < 12; ++trial) {
      const std::int64_t k = depth_of(format) * pick(0, depth_of(format) == 32 ? 12 : 3);
      const Blocks blocks(random, format, pick(1, 150), k);
      const PackedMatrix packed = blocks.packed();
      const std::int64_t m = pick(0, 70);
      std::vector<float> x(static_cast<std::size_t>(m * k));
      for (float& value : x) value = normal(random);
      const Rows a(x, m, k, 4 * pick(0, 3));
      const auto got = product(packed, a, m, panel_product(format, ProductType::int8, GetParam()));
      const auto expected = product(packed, a, m, [&](const PanelArgs& args) {
        reference::panel_product(format, ProductType::int8, args);
      });
      for (std::size_t at = 0; at < got.size(); ++at) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(got[at]), std::bit_cast<std::uint32_t>(expected[at]))
            << at << ": " << got[at] << " for " << expected[at] << ", " << panel_format_name(format)
            << " m " << m << " n " << blocks.n << " k " << k;
      }
    }
  }
}

// The largest sums: every quant at the end of its range.
TEST_P(QuantizedProductOnIsa, SumsDoNotOverflow) {
  std::mt19937 random(4);
  for (const PanelFormat format : kFormats) {
    const std::int64_t k = 256;
    for (const int filling : {0x00, 0x7f, 0x80, 0xff}) {
      Blocks blocks(random, format, 32, k);
      const std::size_t size = file_block_bytes(format);
      for (std::size_t at = 0; at < blocks.bytes.size(); at += size) {
        std::memset(&blocks.bytes[at], filling, size);
        for (const std::size_t place : half_places(format)) {
          const std::uint16_t one = 0x3c00;
          std::memcpy(&blocks.bytes[at + place], &one, sizeof(one));
        }
      }
      const PackedMatrix packed = blocks.packed();
      for (const float sign : {1.0F, -1.0F}) {
        const Rows a(std::vector<float>(k, sign), 1, k, 0);
        const auto got =
            product(packed, a, 1, panel_product(format, ProductType::int8, GetParam()));
        const auto expected = product(packed, a, 1, [&](const PanelArgs& args) {
          reference::panel_product(format, ProductType::int8, args);
        });
        EXPECT_EQ(got, expected) << panel_format_name(format) << " filled with " << filling;
      }
    }
  }
}

TEST_P(QuantizedProductOnIsa, NanAndInfinityReachTheirColumnsAndRowsOnly) {
  std::mt19937 random(2);
  for (const PanelFormat format : kFormats) {
    const std::int64_t k = depth_of(format) == 32 ? 96 : 256;
    Blocks blocks(random, format, 70, k);
    const std::size_t row = blocks.bytes.size() / 70;
    for (std::size_t i : {3, 40}) {
      const std::uint16_t half = i == 3 ? 0x7d01 : 0x7c00;  // a NaN that signals; infinity
      std::memset(&blocks.bytes[i * row], 0x11, file_block_bytes(format));
      for (const std::size_t place : half_places(format)) {
        const std::uint16_t zero = 0;
        std::memcpy(&blocks.bytes[i * row + place], place % 8 == 2 ? &zero : &half, 2);
      }
    }
    std::vector<float> x(static_cast<std::size_t>(3 * k), 1.0F);
    x[static_cast<std::size_t>(2 * k + 5)] = std::numeric_limits<float>::infinity();
    const auto c = product(blocks.packed(), Rows(x, 3, k, 0), 3,
                           panel_product(format, ProductType::int8, GetParam()));
    for (std::size_t at = 0; at + 1 < c.size(); ++at) {
      if (at % 71 == 0) continue;
      const std::size_t column = at % 71 - 1;
      const bool last_row = at > std::size_t{2} * 71;
      EXPECT_EQ(std::isfinite(c[at]), column != 3 && column != 40 && !last_row)
          << panel_format_name(format) << ' ' << column;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedProductOnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

/// The most by which a quantised row may differ from its values, for each block: half a step of its
/// quants, or of its residual's where products take them; a thousandth more for float32's
/// roundings.
std::vector<double> errors(const QuantizedRow& row, bool residuals) {
  std::vector<double> most;
  for (std::int64_t b = 0; b < row.k / 32; ++b) most.push_back(row.scales()[b] * 0.5005);
  for (std::int64_t i = 0; residuals && i < row.residual_count(); ++i) {
    most[static_cast<std::size_t>(row.residual_blocks()[i])] = row.residual().scales()[i] * 0.51;
  }
  return most;
}

TEST(QuantizedPanels, ProductsAreThoseOfTheValuesToTheRowsPrecision) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const PanelFormat format : kFormats) {
    const std::int64_t k = 512;
    const Blocks blocks(random, format, 40, k);
    std::vector<float> x(static_cast<std::size_t>(k));
    for (float& value : x) value = normal(random);
    for (std::size_t t = 64; t < 96; ++t) x[t] *= 50;
    const Rows row(x, 1, k, 0);
    const QuantizedRow quantized = {row.bytes.data(), k};
    ASSERT_EQ(quantized.residual_count(), 1);
    const std::vector<double> most = errors(quantized, takes_residuals(format));
    const auto c = product(blocks.packed(), row, 1,
                           panel_product(format, ProductType::int8, available_isas().back()));
    for (std::int64_t j = 0; j < blocks.n; ++j) {
      double sum = 0;
      double bound = 0;
      double size = 0;
      for (std::int64_t t = 0; t < k; ++t) {
        const double w = blocks.values[static_cast<std::size_t>(j * k + t)];
        const double value = x[static_cast<std::size_t>(t)];
        sum += w * value;
        size += std::abs(w * value);
        bound += std::abs(w) * most[static_cast<std::size_t>(t / 32)];
      }
      bound += size * 64 * 0x1p-24;  // of the chain of sums
      const double difference = std::abs(double{c[static_cast<std::size_t>(j + 1)]} - sum);
      ASSERT_TRUE(difference <= bound) << panel_format_name(format);
    }
  }
}

TEST(QuantizedPanels, ComputeInInt8Only) {
  for (const PanelFormat format : kFormats) {
    for (const ProductType type : {ProductType::float32, ProductType::bfloat16}) {
      EXPECT_THROW(panel_product(format, type, available_isas().back()), InvalidArgument);
    }
  }
  EXPECT_THROW(panel_product(PanelFormat::bfloat16, ProductType::int8, Isa::portable),
               InvalidArgument);
}

}  // namespace
}  // namespace diffllama
