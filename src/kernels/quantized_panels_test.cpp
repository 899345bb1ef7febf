#include "kernels/quantized_panels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "diffllama/error.h"
#include "kernels/matmul.h"
#include "kernels/reference/panel_product.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr PanelFormat kFormats[] = {PanelFormat::q8_0, PanelFormat::q4_0, PanelFormat::q4_1};

std::size_t block_bytes(PanelFormat format) { return quantized_step_bytes(format) / 32; }

/// A matrix of random blocks as a GGUF file has them, and the values that they stand for, found
/// from the description of the format alone.
struct Blocks {
  Blocks(std::mt19937& random, PanelFormat which, std::int64_t rows, std::int64_t columns)
      : format(which), n(rows), k(columns) {
    std::uniform_real_distribution<float> scales(-0.1F, 0.1F);
    const std::size_t size = block_bytes(format);
    bytes.resize(static_cast<std::size_t>(n * k / 32) * size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    for (std::size_t at = 0; at < bytes.size(); at += size) {
      const float scale = put_half(at, scales(random));
      const float minimum = format == PanelFormat::q4_1 ? put_half(at + 2, scales(random)) : 0.0F;
      const std::size_t quants = at + (format == PanelFormat::q4_1 ? 4 : 2);
      for (std::size_t t = 0; t < 32; ++t) {
        const int byte =
            std::to_integer<int>(bytes[quants + (format == PanelFormat::q8_0 ? t : t % 16)]);
        const int nibble = t < 16 ? byte % 16 : byte / 16;
        switch (format) {
          case PanelFormat::q8_0:
            values.push_back(scale * static_cast<float>(byte < 128 ? byte : byte - 256));
            break;
          case PanelFormat::q4_0:
            values.push_back(scale * static_cast<float>(nibble - 8));
            break;
          default:
            values.push_back(scale * static_cast<float>(nibble) + minimum);
        }
      }
    }
  }

  float put_half(std::size_t at, float value) {
    const std::uint16_t half = float_to_float16(value);
    std::memcpy(&bytes[at], &half, sizeof(half));
    return float16_to_float(half);
  }
  std::span<const std::byte> row(std::int64_t i) const {
    const std::size_t size = static_cast<std::size_t>(k / 32) * block_bytes(format);
    return std::span(bytes).subspan(static_cast<std::size_t>(i) * size, size);
  }
  PackedMatrix packed(int threads = 1) const {
    return PackedMatrix::of_blocks(
        format, n, k, [this](std::int64_t i) { return row(i); }, Parallel(threads));
  }
  PackedMatrix packed_as_bfloat16() const {
    return PackedMatrix(
        PanelFormat::bfloat16, n, k,
        [this](std::int64_t i, std::span<float> out) {
          std::copy_n(values.begin() + i * k, k, out.begin());
        },
        Parallel(1));
  }

  PanelFormat format;
  std::int64_t n, k;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

TEST(QuantizedPanels, GiveTheirRowsBackInAsManyBytes) {
  std::mt19937 random(1);
  for (const PanelFormat format : kFormats) {
    for (const auto& [n, k] :
         {std::pair{1, 32}, std::pair{33, 64}, std::pair{5, 0}, std::pair{96, 1056}}) {
      const Blocks blocks(random, format, n, k);
      const PackedMatrix packed = blocks.packed(2);
      if (n % 32 == 0) {
        EXPECT_EQ(packed.bytes(), blocks.bytes.size());
      }
      std::vector<float> row(static_cast<std::size_t>(k));
      for (std::int64_t i = 0; i < n; ++i) {
        packed.read_row(i, row);
        for (std::int64_t t = 0; t < k; ++t) {
          ASSERT_EQ(row[static_cast<std::size_t>(t)],
                    blocks.values[static_cast<std::size_t>(i * k + t)])
              << "format " << static_cast<int>(format) << " row " << i << " k " << t;
        }
      }
    }
  }
}

std::vector<float> product(const PackedMatrix& w, const std::vector<std::uint16_t>& a,
                           std::int64_t lda, std::int64_t m, PanelProduct multiply) {
  constexpr float kGuard = 12345.0F;
  const std::int64_t ldc = w.n() + 1;
  std::vector<float> c(static_cast<std::size_t>(m * ldc + 1), kGuard);
  PanelArgs args{.a = a.data() + 1, .lda = lda, .m = m, .panels = w.panels()};
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

// So every promise that bfloat16 panels keep, these keep too: of order, and of rows that depend on
// nothing else.
TEST_P(QuantizedProductOnIsa, HasTheBitsOfBfloat16Panels) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  for (int trial = 0; trial < 90; ++trial) {
    const PanelFormat format = kFormats[trial % 3];
    const std::int64_t k = 32 * (trial % 9 == 0 ? pick(30, 70) : pick(0, 12));
    const Blocks blocks(random, format, pick(1, 150), k);
    const std::int64_t m = pick(0, 40);
    const std::int64_t lda = k + pick(0, 3);
    std::vector<std::uint16_t> a(static_cast<std::size_t>(m * lda + 1));
    for (std::uint16_t& value : a) value = float_to_bfloat16(normal(random));
    const auto kernel = [&](PanelFormat panels) {
      return panel_product(panels, ProductType::bfloat16, GetParam());
    };
    const auto got = product(blocks.packed(), a, lda, m, kernel(format));
    const auto expected =
        product(blocks.packed_as_bfloat16(), a, lda, m, kernel(PanelFormat::bfloat16));
    for (std::size_t at = 0; at < got.size(); ++at) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[at]), std::bit_cast<std::uint32_t>(expected[at]))
          << at << ": " << got[at] << " for " << expected[at] << ", format "
          << static_cast<int>(format) << " m " << m << " n " << blocks.n << " k " << k;
    }
  }
}

TEST_P(QuantizedProductOnIsa, NanAndInfinityReachTheirColumnsOnly) {
  std::mt19937 random(2);
  for (const PanelFormat format : kFormats) {
    Blocks blocks(random, format, 70, 96);
    const std::size_t row = blocks.bytes.size() / 70;
    const std::size_t quants = block_bytes(format) - 1;  // the last byte: one quant or two
    const auto poison = [&](std::size_t i, std::uint16_t half) {
      std::byte* block = &blocks.bytes[i * row];
      std::memcpy(block, &half, sizeof(half));
      std::memset(block + quants - 15, 0x11, 16);
      if (format == PanelFormat::q8_0) std::memset(block + 2, 1, 32);
    };
    poison(3, 0x7d01);   // NaN that signals
    poison(40, 0x7c00);  // infinity
    const std::vector<std::uint16_t> a(2 * 96 + 1, float_to_bfloat16(1.0F));
    const auto c = product(blocks.packed(), a, 96, 2,
                           panel_product(format, ProductType::bfloat16, GetParam()));
    for (std::size_t at = 0; at + 1 < c.size(); ++at) {
      if (at % 71 == 0) continue;
      const std::size_t column = at % 71 - 1;
      EXPECT_EQ(std::isnan(c[at]), column == 3) << column;
      EXPECT_EQ(std::isinf(c[at]), column == 40) << column;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedProductOnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST(QuantizedPanels, ComputeInBfloat16Only) {
  for (const PanelFormat format : kFormats) {
    EXPECT_THROW(panel_product(format, ProductType::float32, available_isas().back()),
                 InvalidArgument);
  }
}

// The scalar specification reads panels as the kernels do.
TEST(QuantizedPanels, TheReferenceRoundsValuesToBfloat16) {
  std::mt19937 random(3);
  for (const PanelFormat format : kFormats) {
    const Blocks blocks(random, format, 40, 64);
    const PackedMatrix packed = blocks.packed();
    for (std::int64_t j = 0; j < 40; ++j) {
      for (std::int64_t t = 0; t < 64; ++t) {
        const float value = blocks.values[static_cast<std::size_t>(j * 64 + t)];
        ASSERT_EQ(reference::panel_value(format, packed.panels(), packed.panel_stride(), j, t),
                  bfloat16_to_float(float_to_bfloat16(value)));
      }
    }
  }
}

}  // namespace
}  // namespace diffllama
