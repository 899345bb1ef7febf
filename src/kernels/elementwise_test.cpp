#include "kernels/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/row_kernels.h"
#include "kernels/isa.h"
#include "kernels/reference/elementwise.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kUlp = 0x1p-23;  // at most this much of a value is one unit in its last place
constexpr std::int64_t kSizes[] = {0,  1,  2,  3,   7,   8,   9,   15,  16,  17,
                                   31, 33, 64, 127, 255, 256, 257, 300, 513, 1000};

/// n values between guards, off any alignment.
template <class T>
class Guarded {
 public:
  explicit Guarded(std::vector<T> values) : n_(values.size()), data_(n_ + 2 * kGuards, kGuard) {
    std::copy(values.begin(), values.end(), data());
  }
  T* data() { return data_.data() + kGuards; }
  T operator[](std::size_t i) const { return data_[i + kGuards]; }
  std::size_t size() const { return n_; }
  bool whole() const {
    for (std::size_t i = 0; i < kGuards; ++i) {
      if (data_[i] != kGuard || data_[kGuards + n_ + i] != kGuard) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuards = 5;
  static constexpr T kGuard = T(77);
  std::size_t n_;
  std::vector<T> data_;
};

class OnIsa : public testing::TestWithParam<Isa> {
 protected:
  OnIsa() : seed_(std::random_device{}()), random_(seed_), kernels_(row_kernels(GetParam())) {}
  std::vector<float> values(std::int64_t n, float width = 1.0F) {
    std::normal_distribution<float> normal(0.0F, width);
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& value : x) value = normal(random_);
    return x;
  }
  std::string context(std::int64_t n) const {
    return "n " + std::to_string(n) + ", seed " + std::to_string(seed_);
  }
  unsigned seed_;
  std::mt19937 random_;
  RowKernels kernels_;
};

void expect_near(double got, double expected, double tolerance, std::size_t at) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << at << ": " << got << " for NaN";
  } else if (std::isinf(expected)) {
    ASSERT_EQ(got, expected) << at;
  } else {
    ASSERT_TRUE(std::abs(got - expected) <= tolerance)
        << at << ": " << got << " for " << expected << ", off by " << got - expected << ", allowed "
        << tolerance;
  }
}

TEST_P(OnIsa, RmsNorm) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto x = values(n);
    const auto weight = values(n);
    for (const bool weighted : {false, true}) {
      Guarded<float> y(x);
      Guarded<float> expected(x);
      const float* w = weighted ? weight.data() : nullptr;
      kernels_.rms_norm(x.data(), w, 1e-5F, 0.7F, y.data(), n);
      reference::rms_norm(x.data(), w, 1e-5F, 0.7F, expected.data(), n);
      ASSERT_TRUE(y.whole());
      // n / 16 + 4 additions and a product each in the sum, whose root halves the error; then the
      // root, the division and two products.
      const double relative = (static_cast<double>(n + 96) / 32 + 6) * kUlp;
      for (std::size_t i = 0; i < y.size(); ++i) {
        expect_near(y[i], expected[i], relative * std::abs(double{expected[i]}), i);
      }
      Guarded<float> in_place(x);
      kernels_.rms_norm(in_place.data(), w, 1e-5F, 0.7F, in_place.data(), n);
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(in_place[i], y[i]);
    }
  }
}

TEST_P(OnIsa, RotaryEmbedAndPlainSumsAreExact) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto x = values(2 * n);
    const auto cos = values(n);
    const auto sin = values(n);
    Guarded<float> got(x);
    Guarded<float> expected(x);
    kernels_.rotary_embed(got.data(), cos.data(), sin.data(), 2 * n);
    reference::rotary_embed(expected.data(), cos.data(), sin.data(), 2 * n);
    kernels_.add_to(got.data(), sin.data(), n);
    reference::add_to(expected.data(), sin.data(), n);
    ASSERT_TRUE(got.whole());
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i]) << i;
  }
}

TEST_P(OnIsa, WeightedSum) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto x1 = values(n);
    const auto x2 = values(n);
    for (const float* second : {x2.data(), static_cast<const float*>(nullptr)}) {
      Guarded<float> got(x1);
      Guarded<float> expected(x1);
      kernels_.weighted_sum(got.data(), 0.7F, second, -0.3F, got.data(), n);
      reference::weighted_sum(x1.data(), 0.7F, second, -0.3F, expected.data(), n);
      ASSERT_TRUE(got.whole());
      for (std::size_t i = 0; i < got.size(); ++i) {
        // Without a fused instruction the second product rounds too, and then the sum.
        const double tolerance =
            0.5 * kUlp * (0.3 * std::abs(double{x2[i]}) + 2 * std::abs(double{expected[i]}));
        expect_near(got[i], expected[i], tolerance, i);
      }
    }
  }
}

TEST_P(OnIsa, WeightedSumOfFloat16) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    std::vector<std::uint16_t> x1;
    std::vector<std::uint16_t> x2;
    for (const float value : values(n)) x1.push_back(float_to_float16(value));
    for (const float value : values(n)) x2.push_back(float_to_float16(value));
    for (const bool two : {true, false}) {
      const std::uint16_t* const second = two ? x2.data() : nullptr;
      Guarded<std::uint16_t> got(x1);
      Guarded<std::uint16_t> expected(x1);
      kernels_.weighted_sum_bfloat16(x1.data(), 0.7F, second, -0.3F, got.data(), n);
      reference::weighted_sum_bfloat16(x1.data(), 0.7F, second, -0.3F, expected.data(), n);
      ASSERT_TRUE(got.whole());
      // The same to the bit; without fma a sum may fall on either side of a tie, or cancel less.
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double value = bfloat16_to_float(expected[i]);
        const double tolerance =
            GetParam() == Isa::portable ? 0x1p-7 * std::abs(value) + 0x1p-22 : 0;
        expect_near(bfloat16_to_float(got[i]), value, tolerance, i);
      }
    }
  }
}

TEST_P(OnIsa, SoftmaxBlock) {
  constexpr float kFactor = 0.3F;
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    auto x = values(n, 10.0F);
    for (std::size_t i = 5; i < x.size(); i += 7) x[i] = -kInfinity;
    if (x.size() > 3) x[3] = -500.0F;
    Guarded<float> got(x);
    Guarded<float> expected(x);
    const SoftmaxBlock block = kernels_.softmax_block(got.data(), n, kFactor);
    const SoftmaxBlock truth = reference::softmax_block(expected.data(), n, kFactor);
    ASSERT_TRUE(got.whole());
    EXPECT_EQ(block.top, truth.top);
    Guarded<std::uint16_t> rounded{std::vector<std::uint16_t>(x.size())};
    const SoftmaxBlock again = kernels_.softmax_block_float16(x.data(), n, kFactor, rounded.data());
    ASSERT_TRUE(rounded.whole());
    EXPECT_EQ(again.top, block.top);
    EXPECT_EQ(again.sum, block.sum);
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(rounded[i], float_to_float16(got[i])) << i;
    }
    // 2 ulp; where the machine has no fma, the product in the exponent rounds, and so does its
    // distance from the top.
    double total = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double exponent = std::isinf(x[i]) ? 0 : std::abs(kFactor * x[i]) + std::abs(block.top);
      const double tolerance = (2 + exponent) * kUlp * expected[i];
      expect_near(got[i], expected[i], tolerance, i);
      total += tolerance;
    }
    expect_near(block.sum, truth.sum, total + (static_cast<double>(n) / 16 + 4) * kUlp * truth.sum,
                0);
  }
}

TEST_P(OnIsa, BlocksJoinToASoftmax) {
  for (const std::int64_t blocks : {1, 2, 3, 16, 17, 40}) {
    SCOPED_TRACE(context(blocks));
    constexpr std::int64_t kBlock = 8;
    auto x = values(blocks * kBlock, 20.0F);
    std::fill_n(x.begin(), kBlock, -kInfinity);  // a block that sees nothing
    if (blocks > 1)
      std::fill_n(x.begin() + kBlock, kBlock, -400.0F);  // one that counts for nothing
    std::vector<double> expected(x.begin(), x.end());
    double sum = 0;
    const double largest = *std::max_element(x.begin(), x.end());
    for (double& value : expected) sum += value = std::exp((value - largest) * 0.3);
    std::vector<float> tops, sums;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const SoftmaxBlock block =
          kernels_.softmax_block(x.data() + b * kBlock, kBlock, 0.3F / std::log(2.0F));
      tops.push_back(block.top);
      sums.push_back(block.sum);
    }
    Guarded<float> weights(tops);
    kernels_.softmax_weights(weights.data(), sums.data(), blocks, -0.7F, weights.data());
    ASSERT_TRUE(weights.whole());
    for (std::int64_t i = 0; i < blocks * kBlock; ++i) {
      const float got =
          x[static_cast<std::size_t>(i)] * weights[static_cast<std::size_t>(i / kBlock)];
      // One block alone sees nothing: all zeros. Else exponents of some 30 are off by an ulp each.
      const double value = blocks == 1 ? 0 : -0.7 * expected[static_cast<std::size_t>(i)] / sum;
      expect_near(got, value, 100 * kUlp * std::abs(value) + 1e-37, static_cast<std::size_t>(i));
    }
  }
}

TEST_P(OnIsa, SoftmaxOfHiddenInfiniteAndNanScores) {
  for (const std::int64_t n : {1, 5, 16, 40, 256}) {
    SCOPED_TRACE(context(n));
    const std::vector<float> hidden(static_cast<std::size_t>(n), -kInfinity);
    // The poisoned block beside one of plain scores: what every value is multiplied by.
    const auto weights = [&](std::vector<float>& x) {
      auto plain = values(n);
      const SoftmaxBlock first = kernels_.softmax_block(plain.data(), n, 0.5F);
      const SoftmaxBlock second = kernels_.softmax_block(x.data(), n, 0.5F);
      const float tops[] = {first.top, second.top};
      const float sums[] = {first.sum, second.sum};
      std::vector<float> result(2);
      kernels_.softmax_weights(tops, sums, 2, 1.0F, result.data());
      return result;
    };
    auto zeros = hidden;
    EXPECT_EQ(weights(zeros)[1], 0.0F);
    for (const float value : zeros) EXPECT_EQ(value, 0.0F);
    for (const float poison : {kNan, kInfinity}) {
      for (const auto& base : {hidden, values(n)}) {
        auto x = base;
        x[static_cast<std::size_t>(n / 2)] = poison;
        for (const float weight : weights(x)) EXPECT_TRUE(std::isnan(weight));
      }
    }
  }
}

// The whole range of float, dense where functions bend, with every special value.
std::vector<float> activation_inputs() {
  std::vector<float> x{0.0F,   -0.0F,   kInfinity, -kInfinity, kNan,  1e-45F,
                       1e-38F, -1e-38F, 3.4e38F,   -3.4e38F,   1e20F, -1e20F};
  for (int i = -120'000; i <= 120'000; ++i) x.push_back(static_cast<float>(i) * 1e-3F);
  for (int exponent = -40; exponent < 10; ++exponent) {
    for (int i = 0; i < 40; ++i) {
      const float value = std::ldexp(1.0F + static_cast<float>(i) / 40.0F, exponent);
      x.push_back(value);
      x.push_back(-value);
    }
  }
  return x;
}

/// What the function's argument is multiplied by before its exponential: rounding that product
/// moves the result by this many ulp more.
double exponent_size(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      return x < 0 ? 2 * std::abs(1.6 * (x + 0.044715 * x * x * x)) : 0;
    case Activation::quick_gelu:
      return x < 0 ? std::abs(1.702 * x) : 0;
    default:
      return 0;
  }
}

TEST_P(OnIsa, ActivationsOverTheWholeRange) {
  const std::vector<float> x = activation_inputs();
  const std::vector<float> ones(x.size(), 1.0F);
  for (int which = 0; which <= static_cast<int>(Activation::sigmoid); ++which) {
    const auto activation = static_cast<Activation>(which);
    SCOPED_TRACE("activation " + std::to_string(which));
    Guarded<float> got(x);
    kernels_.gated_activation(activation, got.data(), ones.data(), got.data(), std::ssize(x));
    ASSERT_TRUE(got.whole());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto expected = static_cast<float>(reference::activate(activation, x[i]));
      const double e = exponent_size(activation, x[i]);
      // Results below the smallest normal number carry an absolute error, times x.
      const double floor = 0x1p-147 * std::max(1.0, std::abs(double{x[i]}));
      expect_near(got[i], expected, (6 + e) * kUlp * std::abs(double{expected}) + floor, i);
      if (HasFatalFailure()) FAIL() << "x " << x[i];
      if (std::isfinite(expected) && std::abs(expected) > 1e-37F) {
        worst = std::max(
            worst, std::abs(double{got[i]} - expected) / (std::abs(double{expected}) * (1 + e)));
      }
    }
    RecordProperty("worst_ulp_" + std::to_string(which), std::to_string(worst / kUlp));
  }
}

TEST_P(OnIsa, GatedActivationSizes) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto gate = values(n, 3.0F);
    const auto up = values(n);
    Guarded<float> out{std::vector<float>(gate.size(), 9.0F)};
    Guarded<float> expected(gate);
    kernels_.gated_activation(Activation::silu, gate.data(), up.data(), out.data(), n);
    reference::gated_activation(Activation::silu, gate.data(), up.data(), expected.data(), n);
    ASSERT_TRUE(out.whole());
    for (std::size_t i = 0; i < out.size(); ++i) {
      expect_near(out[i], expected[i], 7 * kUlp * std::abs(double{expected[i]}), i);
    }
  }
}

TEST_P(OnIsa, Bfloat16IsExact) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& value : x) value = std::bit_cast<float>(static_cast<std::uint32_t>(random_()));
    Guarded<std::uint16_t> narrow{std::vector<std::uint16_t>(x.size())};
    kernels_.to_bfloat16(x.data(), narrow.data(), n);
    ASSERT_TRUE(narrow.whole());
    Guarded<float> wide{std::vector<float>(x.size())};
    kernels_.from_bfloat16(narrow.data(), wide.data(), n);
    ASSERT_TRUE(wide.whole());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(narrow[i], float_to_bfloat16(x[i])) << x[i];
      ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), static_cast<std::uint32_t>(narrow[i]) << 16);
    }
  }
}

TEST_P(OnIsa, ExpandsEightBitPanelsExactly) {
  constexpr std::size_t kStepBytes = 64 + 32 * 32;
  for (const std::int64_t steps : {0, 1, 3, 8}) {
    SCOPED_TRACE(context(steps));
    std::vector<std::byte> panel(static_cast<std::size_t>(steps) * kStepBytes);
    for (std::size_t i = 0; i < panel.size(); ++i) {
      panel[i] = static_cast<std::byte>(random_());
      // Scales below 2, so that none is NaN, whose bits are free.
      if (i % kStepBytes < 64 && i % 2 == 1) panel[i] &= std::byte{0xbf};
    }
    for (const ScalesOf scales : {ScalesOf::columns, ScalesOf::depth}) {
      std::vector<std::uint16_t> zeros(static_cast<std::size_t>(steps) * 32 * 32);
      Guarded<std::uint16_t> got(zeros);
      Guarded<std::uint16_t> expected(zeros);
      kernels_.expand_q8_0(scales, panel.data(), steps, got.data());
      reference::expand_q8_0(scales, panel.data(), steps, expected.data());
      ASSERT_TRUE(got.whole());
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i]) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Elementwise, OnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST(Elementwise, AvxIsasAgreeBitForBit) {
  if (available_isas().back() < Isa::avx512_vnni) GTEST_SKIP() << "needs AVX-512";
  const RowKernels a = row_kernels(Isa::avx2);
  const RowKernels b = row_kernels(available_isas().back());
  const auto same = [](const std::vector<float>& x, const std::vector<float>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i])) return false;
    }
    return true;
  };
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const std::int64_t n : kSizes) {
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& value : x) value = normal(random);
    auto y = x;
    auto z = x;
    const SoftmaxBlock block_a = a.softmax_block(y.data(), n, 1.7F);
    const SoftmaxBlock block_b = b.softmax_block(z.data(), n, 1.7F);
    EXPECT_EQ(block_a.sum, block_b.sum) << n;
    EXPECT_TRUE(same(y, z)) << n;
    a.softmax_weights(x.data(), x.data(), n, 1.7F, y.data());
    b.softmax_weights(x.data(), x.data(), n, 1.7F, z.data());
    EXPECT_TRUE(same(y, z)) << n;
    a.rms_norm(x.data(), x.data(), 1e-6F, 1.0F, y.data(), n);
    b.rms_norm(x.data(), x.data(), 1e-6F, 1.0F, z.data(), n);
    EXPECT_TRUE(same(y, z)) << n;
    a.gated_activation(Activation::gelu, x.data(), x.data(), y.data(), n);
    b.gated_activation(Activation::gelu, x.data(), x.data(), z.data(), n);
    EXPECT_TRUE(same(y, z)) << n;
  }
}

TEST(Half, Float16RoundsToNearestEvenAndBack) {
  for (std::uint32_t half = 0; half <= 0xffff; ++half) {
    const float value = float16_to_float(static_cast<std::uint16_t>(half));
    const std::uint16_t back = float_to_float16(value);
    const bool nan = (half & 0x7fffU) > 0x7c00U;
    EXPECT_EQ(back, nan ? half | 0x200U : half);
    EXPECT_EQ(std::isnan(value), nan);
  }
  EXPECT_EQ(float16_to_float(0x3555), 0x1.554p-2F);
  EXPECT_EQ(float16_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(float_to_float16(1.0F + 0x1p-11F), 0x3c00);  // a tie goes to even
  EXPECT_EQ(float_to_float16(1.0F + 0x1p-11F + 0x1p-20F), 0x3c01);
  EXPECT_EQ(float_to_float16(1.0F + 0x1.8p-10F), 0x3c02);
  EXPECT_EQ(float_to_float16(65519.0F), 0x7bff);
  EXPECT_EQ(float_to_float16(65520.0F), 0x7c00);
  EXPECT_EQ(float_to_float16(0x1p-25F), 0);
  EXPECT_EQ(float_to_float16(0x1.8p-24F), 2);
  EXPECT_EQ(float_to_float16(-0x1.8p-25F), 0x8001);
}

TEST(Half, Bfloat16RoundsToNearestEven) {
  EXPECT_EQ(float_to_bfloat16(1.0F + 0x1p-8F), 0x3f80);
  EXPECT_EQ(float_to_bfloat16(1.0F + 0x1.8p-7F), 0x3f82);
  EXPECT_EQ(float_to_bfloat16(3.4e38F), 0x7f80);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x7f800001U)), 0x7fc0);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0xffffffffU)), 0xffff);
}

}  // namespace
}  // namespace diffllama
