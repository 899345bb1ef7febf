#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/quantized_rows.h"
#include "kernels/reference/panel_product.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

std::vector<float> random_values(std::mt19937& random, std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

PackedMatrix pack(PanelFormat format, const std::vector<float>& w, std::int64_t n, std::int64_t k,
                  const Parallel& parallel) {
  return PackedMatrix(
      format, n, k,
      [&](std::int64_t row, std::span<float> out) {
        std::copy_n(w.begin() + row * k, k, out.begin());
      },
      parallel);
}

float rounded(PanelFormat format, float value) {
  switch (format) {
    case PanelFormat::float32:
      return value;
    case PanelFormat::float16:
      return float16_to_float(float_to_float16(value));
    case PanelFormat::bfloat16:
      return bfloat16_to_float(float_to_bfloat16(value));
    default:
      return 0.0F;
  }
}

constexpr PanelFormat kFormats[] = {PanelFormat::float32, PanelFormat::float16,
                                    PanelFormat::bfloat16};

TEST(PackedMatrix, GivesItsRowsBack) {
  std::mt19937 random(3);
  for (const PanelFormat format : kFormats) {
    for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 1}, {33, 37}, {70, 64}, {5, 0}, {300, 2050}}) {
      const auto w = random_values(random, n * k);
      const PackedMatrix packed = pack(format, w, n, k, Parallel(2));
      EXPECT_EQ(packed.bytes(), panel_bytes(format, k) * static_cast<std::size_t>((n + 31) / 32));
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t t = 0; t < k; ++t) {
          ASSERT_EQ(reference::panel_value(format, packed.panels(), packed.panel_stride(), i, t),
                    rounded(format, w[static_cast<std::size_t>(i * k + t)]));
        }
      }
    }
  }
}

TEST(PackedMatrix, PadsWithZeros) {
  const std::vector<float> w(std::size_t{33} * 3, 1.0F);
  const PackedMatrix packed = pack(PanelFormat::bfloat16, w, 33, 3, Parallel(1));
  std::int64_t ones = 0;
  for (std::size_t i = 0; i < packed.bytes(); i += 2) {
    std::uint16_t value = 0;
    std::copy_n(packed.panels() + i, 2, reinterpret_cast<std::byte*>(&value));
    ones += value == 0x3f80;
    EXPECT_TRUE(value == 0x3f80 || value == 0);
  }
  EXPECT_EQ(ones, 33 * 3);
}

TEST(PackedMatrix, RethrowsTheReadersError) {
  EXPECT_THROW(PackedMatrix(
                   PanelFormat::float32, 64, 8,
                   [](std::int64_t row, std::span<float>) {
                     if (row == 40) throw std::runtime_error("row 40");
                   },
                   Parallel(2)),
               std::runtime_error);
}

struct Case {
  PanelFormat format;
  ProductType type;
  std::int64_t m, n, k;
};

std::vector<float> multiply(const Case& c, const std::vector<float>& x, const PackedMatrix& w,
                            const float* bias, int threads) {
  const Parallel parallel(threads);
  ActivationRows rows;
  rows.assign(x.data(), c.m, c.k, c.k, c.type);
  std::vector<float> y(static_cast<std::size_t>(c.m * c.n), -1.0F);
  matmul(rows, {{&w, bias, y.data(), c.n}}, parallel);
  return y;
}

TEST(Matmul, IsTheProductAndTheSameForAnyThreads) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const Case& c : {Case{PanelFormat::float32, ProductType::float32, 1, 100, 70},
                        Case{PanelFormat::float16, ProductType::float32, 5, 65, 31},
                        Case{PanelFormat::bfloat16, ProductType::float32, 300, 130, 33},
                        Case{PanelFormat::bfloat16, ProductType::bfloat16, 1, 1000, 66},
                        Case{PanelFormat::bfloat16, ProductType::bfloat16, 210, 97, 1500},
                        Case{PanelFormat::float32, ProductType::float32, 0, 10, 4},
                        Case{PanelFormat::float32, ProductType::float32, 2, 10, 0}}) {
    const auto x = random_values(random, c.m * c.k);
    const auto w = random_values(random, c.n * c.k);
    const auto bias = random_values(random, c.n);
    const PackedMatrix packed = pack(c.format, w, c.n, c.k, Parallel(1));
    const auto y = multiply(c, x, packed, bias.data(), 1);
    for (const int threads : {2, 5}) EXPECT_EQ(multiply(c, x, packed, bias.data(), threads), y);
    const bool narrow = c.type == ProductType::bfloat16;
    for (std::int64_t i = 0; i < c.m; ++i) {
      for (std::int64_t j = 0; j < c.n; ++j) {
        double sum = bias[static_cast<std::size_t>(j)];
        double magnitude = std::abs(sum);
        for (std::int64_t t = 0; t < c.k; ++t) {
          const float a = x[static_cast<std::size_t>(i * c.k + t)];
          const double product =
              double{narrow ? rounded(PanelFormat::bfloat16, a) : a} *
              double{rounded(c.format, w[static_cast<std::size_t>(j * c.k + t)])};
          sum += product;
          magnitude += std::abs(product);
        }
        const double tolerance = 2.02 * static_cast<double>(c.k + 1) * 0x1p-24 * magnitude;
        const double difference = std::abs(double{y[static_cast<std::size_t>(i * c.n + j)]} - sum);
        ASSERT_TRUE(difference <= tolerance) << i << ',' << j;
      }
    }
  }
}

TEST(Matmul, ARowIsTheSameInEveryBatch) {
  std::mt19937 random(5);
  for (const ProductType type : {ProductType::float32, ProductType::bfloat16}) {
    const Case all{PanelFormat::bfloat16, type, 200, 301, 520};
    const auto x = random_values(random, all.m * all.k);
    const PackedMatrix w =
        pack(all.format, random_values(random, all.n * all.k), all.n, all.k, Parallel(2));
    const auto y = multiply(all, x, w, nullptr, 2);
    for (const std::int64_t m : {1, 2, 3, 4, 7, 12, 13, 17, 64}) {
      const std::vector<float> part(x.begin() + 5 * all.k, x.begin() + (5 + m) * all.k);
      const auto got = multiply({all.format, type, m, all.n, all.k}, part, w, nullptr, 2);
      EXPECT_TRUE(std::equal(got.begin(), got.end(), y.begin() + 5 * all.n)) << m;
    }
  }
}

TEST(Matmul, SeveralProductsAtOnceAreThoseOneByOne) {
  std::mt19937 random(6);
  const Parallel parallel(2);
  constexpr std::int64_t kDepth = 96;
  for (const std::int64_t m : {1, 5, 130}) {
    const auto x = random_values(random, m * kDepth);
    const auto bias = random_values(random, 200);
    std::vector<PackedMatrix> weights;
    for (const std::int64_t n : {200, 0, 33}) {
      weights.push_back(
          pack(PanelFormat::bfloat16, random_values(random, n * kDepth), n, kDepth, parallel));
    }
    std::vector<std::vector<float>> y(weights.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      y[i].resize(static_cast<std::size_t>(m * weights[i].n()));
    }
    ActivationRows rows;
    rows.assign(x.data(), m, kDepth, kDepth, ProductType::bfloat16);
    matmul(rows,
           {{weights.data(), bias.data(), y[0].data(), 200},
            {&weights[1], nullptr, y[1].data(), 0},
            {&weights[2], nullptr, y[2].data(), 33}},
           parallel);
    for (std::size_t i : {0, 2}) {
      const Case c{PanelFormat::bfloat16, ProductType::bfloat16, m, weights[i].n(), kDepth};
      EXPECT_EQ(y[i], multiply(c, x, weights[i], i == 0 ? bias.data() : nullptr, 1));
    }
  }
}

// Value t of row i, whichever type the rows have.
float value_of(const ActivationRows::Rows& rows, std::int64_t i, std::int64_t t) {
  const std::int64_t at = i * rows.stride + t;
  if (rows.type == ProductType::float32) return reinterpret_cast<const float*>(rows.data)[at];
  return bfloat16_to_float(reinterpret_cast<const std::uint16_t*>(rows.data)[at]);
}

TEST(ActivationRows, AreMadeOnceInTheTypeThatPanelsTake) {
  std::vector<float> x(std::size_t{64} * 40, 1.5F + 0x1p-12F);  // 1.5 in bfloat16
  const Parallel parallel(1);
  ActivationRows rows;
  rows.assign(x.data(), 64, 33, 40, ProductType::bfloat16);
  const ActivationRows::Rows narrow = rows.rows_for(PanelFormat::bfloat16, parallel);
  const bool multiplies_bfloat16 = active_isa() >= Isa::avx512;
  EXPECT_EQ(narrow.type, multiplies_bfloat16 ? ProductType::bfloat16 : ProductType::float32);
  for (std::int64_t i = 0; i < 64; ++i) {
    for (std::int64_t t = 0; t < 33; ++t) EXPECT_EQ(value_of(narrow, i, t), 1.5F);
    for (std::int64_t t = 33; multiplies_bfloat16 && t < 64; ++t) {
      EXPECT_EQ(value_of(narrow, i, t), 0.0F);
    }
  }
  x[0] = 3.0F;
  EXPECT_EQ(rows.rows_for(PanelFormat::bfloat16, parallel).data, narrow.data);
  EXPECT_EQ(value_of(narrow, 0, 0), 1.5F) << "made once";

  std::fill(x.begin(), x.end(), 1.5F);
  rows.assign(x.data(), 64, 32, 40, ProductType::bfloat16);
  const ActivationRows::Rows quantised = rows.rows_for(PanelFormat::q4_0, parallel);
  EXPECT_EQ(quantised.type, ProductType::int8);
  const QuantizedRow row{quantised.data + quantised.stride, 32};
  EXPECT_EQ(row.quants()[31], 127);
  EXPECT_EQ(row.scales()[0], 1.5F / 127.0F);

  rows.assign(x.data(), 1, 33, 40, ProductType::float32);
  const ActivationRows::Rows wide = rows.rows_for(PanelFormat::bfloat16, parallel);
  EXPECT_EQ(wide.type, ProductType::float32);
  EXPECT_EQ(wide.data, reinterpret_cast<const std::byte*>(x.data()));
  EXPECT_EQ(wide.stride, 40);
}

}  // namespace
}  // namespace diffllama
