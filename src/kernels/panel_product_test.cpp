#include "kernels/panel_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "diffllama/error.h"
#include "kernels/matmul.h"
#include "kernels/reference/panel_product.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr float kGuard = 12345.0F;

struct Kind {
  PanelFormat format;
  ProductType type;
};
constexpr Kind kKinds[] = {{PanelFormat::float32, ProductType::float32},
                           {PanelFormat::float16, ProductType::float32},
                           {PanelFormat::bfloat16, ProductType::float32},
                           {PanelFormat::bfloat16, ProductType::bfloat16}};

using Random = std::mt19937;
std::int64_t pick(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

/// Rows and a packed matrix of random values, the rows at an odd address and stride.
struct Problem {
  Problem(Random& random, Kind which, std::int64_t rows, std::int64_t columns, std::int64_t depth)
      : kind(which), m(rows), n(columns), k(depth) {
    std::normal_distribution<float> normal;
    const std::int64_t padded =
        kind.type == ProductType::bfloat16 ? padded_depth(PanelFormat::bfloat16, k) : k;
    lda = padded + pick(random, 0, 3);
    const auto count = static_cast<std::size_t>(m * lda + 1);
    a.assign(count, std::numeric_limits<float>::quiet_NaN());  // what is past k must not be read
    a16.assign(count, float_to_bfloat16(std::numeric_limits<float>::quiet_NaN()));
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t t = 0; t < padded; ++t) {
        const auto at = static_cast<std::size_t>(1 + i * lda + t);
        const float value = t < k ? normal(random) : 0.0F;
        a[at] = value;
        a16[at] = float_to_bfloat16(value);
      }
    }
    std::vector<float> w(static_cast<std::size_t>(n * k));
    for (float& value : w) value = normal(random);
    packed = PackedMatrix(
        kind.format, n, k,
        [&](std::int64_t row, std::span<float> out) {
          std::copy_n(w.begin() + row * k, k, out.begin());
        },
        Parallel(1));
  }

  PanelArgs args(std::vector<float>& c, std::int64_t ldc) const {
    PanelArgs p;
    p.a = kind.type == ProductType::bfloat16 ? static_cast<const void*>(a16.data() + 1)
                                             : static_cast<const void*>(a.data() + 1);
    p.lda = lda;
    p.m = m;
    p.panels = packed.panels();
    p.panel_stride = packed.panel_stride();
    p.columns = n;
    p.k = k;
    p.c = c.data() + 1;
    p.ldc = ldc;
    return p;
  }

  /// The product with guards on every side of each row of c; checks that they stand.
  std::vector<float> run(const std::function<void(const PanelArgs&)>& product) const {
    const std::int64_t ldc = n + 3;
    std::vector<float> c(static_cast<std::size_t>(m * ldc + 4), kGuard);
    product(args(c, ldc));
    std::vector<float> out;
    EXPECT_EQ(c[0], kGuard);
    for (std::int64_t i = 0; i < m; ++i) {
      const float* row = c.data() + 1 + i * ldc;
      out.insert(out.end(), row, row + n);
      for (std::int64_t j = n; j < ldc; ++j) EXPECT_EQ(row[j], kGuard) << i << ',' << j;
    }
    return out;
  }

  /// The sum of |a||w|, which bounds the rounding errors of output `at` of a row-major m x n.
  double magnitude(std::size_t at) const {
    const auto i = static_cast<std::int64_t>(at) / n;
    const auto j = static_cast<std::int64_t>(at) % n;
    double sum = 0;
    for (std::int64_t t = 0; t < k; ++t) {
      sum += std::abs(
          a[static_cast<std::size_t>(1 + i * lda + t)] *
          reference::panel_value(kind.format, packed.panels(), packed.panel_stride(), j, t));
    }
    return sum;
  }

  Kind kind;
  std::int64_t m, n, k, lda = 0;
  std::vector<float> a;
  std::vector<std::uint16_t> a16;
  PackedMatrix packed;
};

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  if (x.size() != y.size()) return false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i])) return false;
  }
  return true;
}

class PanelProductOnIsa : public testing::TestWithParam<Isa> {};

TEST_P(PanelProductOnIsa, EqualsTheReference) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  for (int trial = 0; trial < 120; ++trial) {
    const Kind kind = kKinds[trial % 4];
    const Problem problem(random, kind, pick(random, 0, 40), pick(random, 1, 200),
                          trial % 10 == 0 ? pick(random, 500, 1200) : pick(random, 0, 130));
    SCOPED_TRACE(testing::Message() << "m " << problem.m << " n " << problem.n << " k " << problem.k
                                    << " kind " << trial % 4);
    const auto got = problem.run(panel_product(kind.format, kind.type, GetParam()));
    const auto expected = problem.run(
        [&](const PanelArgs& args) { reference::panel_product(kind.format, kind.type, args); });
    // fma in the same order: the same bits. Otherwise each of the k products and k additions
    // rounds on each side, and bfloat16 instructions may flush subnormals.
    const bool exact = kind.type == ProductType::float32 && GetParam() != Isa::portable;
    for (std::size_t at = 0; at < got.size(); ++at) {
      const auto k = static_cast<double>(problem.k);
      const double tolerance =
          exact ? 0.0 : 3 * k * 0x1p-24 * problem.magnitude(at) * 1.02 + k * 0x1p-125;
      const double difference = std::abs(double{got[at]} - double{expected[at]});
      ASSERT_TRUE(difference <= tolerance) << at << ": " << got[at] << " for " << expected[at];
    }
  }
}

TEST_P(PanelProductOnIsa, ARowDependsOnNothingElse) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  for (const Kind kind : kKinds) {
    const PanelProduct product = panel_product(kind.format, kind.type, GetParam());
    const Problem problem(random, kind, 67, 170, 1100);
    const std::vector<float> whole = problem.run(product);
    for (std::int64_t m = 1; m <= 35; ++m) {
      const std::int64_t row = pick(random, 0, problem.m - m);
      const std::int64_t panel = pick(random, 0, 4);
      const std::int64_t columns = pick(random, 1, problem.n - panel * kPanelColumns);
      std::vector<float> c(static_cast<std::size_t>(m * columns + 1));
      PanelArgs args = problem.args(c, columns);
      args.a = static_cast<const std::byte*>(args.a) +
               row * problem.lda * (kind.type == ProductType::bfloat16 ? 2 : 4);
      args.m = m;
      args.panels += static_cast<std::size_t>(panel) * args.panel_stride;
      args.columns = columns;
      product(args);
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          const auto at =
              static_cast<std::size_t>((row + i) * problem.n + panel * kPanelColumns + j);
          ASSERT_EQ(c[static_cast<std::size_t>(1 + i * columns + j)], whole[at])
              << "m " << m << " row " << i << " column " << j;
        }
      }
    }
  }
}

TEST_P(PanelProductOnIsa, NanAndInfinityReachTheirOutputsOnly) {
  Random random(7);
  for (const Kind kind : kKinds) {
    Problem problem(random, kind, 20, 70, 45);
    const auto poison = [&](std::int64_t row, std::int64_t t, float value) {
      problem.a[static_cast<std::size_t>(1 + row * problem.lda + t)] = value;
      problem.a16[static_cast<std::size_t>(1 + row * problem.lda + t)] = float_to_bfloat16(value);
    };
    poison(3, 44, std::numeric_limits<float>::quiet_NaN());
    poison(17, 0, std::numeric_limits<float>::infinity());
    const auto c = problem.run(panel_product(kind.format, kind.type, GetParam()));
    for (std::size_t at = 0; at < c.size(); ++at) {
      const std::size_t row = at / 70;
      EXPECT_EQ(std::isnan(c[at]), row == 3) << at;
      EXPECT_EQ(std::isinf(c[at]), row == 17) << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PanelProductOnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST(PanelProduct, AvxIsasAgreeBitForBitInFloat32) {
  if (available_isas().back() < Isa::avx512_vnni) GTEST_SKIP() << "needs AVX-512";
  Random random(11);
  for (const Kind kind : {kKinds[0], kKinds[1], kKinds[2]}) {
    const Problem problem(random, kind, 19, 77, 701);
    EXPECT_TRUE(
        same_bits(problem.run(panel_product(kind.format, kind.type, Isa::avx2)),
                  problem.run(panel_product(kind.format, kind.type, available_isas().back()))));
  }
}

TEST(PanelProduct, RefusesBfloat16ComputeOnOtherPanels) {
  EXPECT_THROW(panel_product(PanelFormat::float32, ProductType::bfloat16, Isa::portable),
               InvalidArgument);
  EXPECT_THROW(panel_product(PanelFormat::float16, ProductType::bfloat16, available_isas().back()),
               InvalidArgument);
}

TEST(PanelProduct, PadsToWholeTiles) {
  EXPECT_EQ(padded_depth(PanelFormat::float32, 33), 33);
  EXPECT_EQ(padded_depth(PanelFormat::float16, 33), 33);
  EXPECT_EQ(padded_depth(PanelFormat::bfloat16, 33), 64);
  EXPECT_EQ(padded_depth(PanelFormat::bfloat16, 0), 0);
  EXPECT_EQ(panel_bytes(PanelFormat::float32, 5), 5 * 128U);
  EXPECT_EQ(panel_bytes(PanelFormat::float16, 5), 5 * 64U);
  EXPECT_EQ(panel_bytes(PanelFormat::bfloat16, 5), 32 * 64U);
}

}  // namespace
}  // namespace diffllama
