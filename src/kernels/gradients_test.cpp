#include "kernels/gradients.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/gradient_kernels.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/isa.h"
#include "kernels/reference/elementwise.h"
#include "kernels/reference/gradients.h"

namespace diffllama {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kUlp = 0x1p-23;  // at most this much of a value is one unit in its last place
constexpr std::int64_t kSizes[] = {0,  1,  2,  3,   7,   8,   9,   15,  16,  17,
                                   31, 33, 64, 127, 255, 256, 257, 300, 513, 1000};

/// n values between guards, off any alignment.
class Guarded {
 public:
  explicit Guarded(const std::vector<float>& values)
      : n_(values.size()), data_(n_ + 2 * kGuards, kGuard) {
    std::copy(values.begin(), values.end(), data());
  }
  float* data() { return data_.data() + kGuards; }
  float operator[](std::size_t i) const { return data_[i + kGuards]; }
  std::size_t size() const { return n_; }
  bool whole() const {
    for (std::size_t i = 0; i < kGuards; ++i) {
      if (data_[i] != kGuard || data_[kGuards + n_ + i] != kGuard) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuards = 5;
  static constexpr float kGuard = 77.0F;
  std::size_t n_;
  std::vector<float> data_;
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

class GradientsOnIsa : public testing::TestWithParam<Isa> {
 protected:
  GradientsOnIsa()
      : seed_(std::random_device{}()), random_(seed_), kernels_(gradient_kernels(GetParam())) {}
  std::vector<float> values(std::int64_t n, float width = 1.0F) {
    std::normal_distribution<float> normal(0.0F, width);
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& value : x) value = normal(random_);
    return x;
  }
  std::string context(std::int64_t n) const {
    return "n " + std::to_string(n) + ", seed " + std::to_string(seed_);
  }
  /// The same bits as the reference; without fma, `roundings` halves of an ulp of `size` apart.
  void expect_same(float got, float expected, double roundings, double size, std::size_t at) const {
    const double tolerance = GetParam() == Isa::portable ? roundings * kUlp / 2 * size : 0;
    expect_near(got, expected, tolerance, at);
  }
  /// Roundings of a sum of n products over 16 partial sums, twice: with fma and without.
  static double of_sum(std::int64_t n) { return 2 * (static_cast<double>(n) / 16 + 6); }

  unsigned seed_;
  std::mt19937 random_;
  GradientKernels kernels_;
};

TEST_P(GradientsOnIsa, ReciprocalRmsIsWhatRmsNormMultipliesBy) {
  const RowKernels rows = row_kernels(GetParam());
  for (const std::int64_t n : kSizes) {
    if (n == 0) continue;
    SCOPED_TRACE(context(n));
    auto x = values(n);
    x[0] = 1.0F;
    std::vector<float> y(x.size());
    rows.rms_norm(x.data(), nullptr, 1e-5F, 1.0F, y.data(), n);
    const float r = kernels_.reciprocal_rms(x.data(), 1e-5F, n);
    EXPECT_EQ(r, y[0]);
    // The root halves the error of the sum; itself and the division round.
    const float expected = reference::reciprocal_rms(x.data(), 1e-5F, n);
    expect_same(r, expected, of_sum(n) / 2 + 4, expected, 0);
  }
}

TEST_P(GradientsOnIsa, RmsNormBackward) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto x = values(n);
    const auto weight = values(n);
    const auto dy = values(n);
    const auto before = values(n);
    for (const float* w : {weight.data(), static_cast<const float*>(nullptr)}) {
      Guarded got(before);
      Guarded expected(before);
      kernels_.rms_norm_backward(x.data(), w, 1.3F, 0.7F, dy.data(), got.data(), n);
      reference::rms_norm_backward(x.data(), w, 1.3F, 0.7F, dy.data(), expected.data(), n);
      ASSERT_TRUE(got.whole());
      double products = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        products += std::abs(double{x[i]} * dy[i] * (w != nullptr ? w[i] : 1.0F));
      }
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double along = 1.7 * products / static_cast<double>(n) * std::abs(double{x[i]});
        const double g = std::abs(double{dy[i]} * (w != nullptr ? w[i] : 1.0F));
        const double size = std::abs(double{before[i]}) + along + g;
        expect_same(got[i], expected[i], of_sum(n) + 14, size, i);
      }
    }
  }
}

TEST_P(GradientsOnIsa, ElementByElement) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto a = values(n);
    const auto b = values(n);
    const auto before = values(n);
    for (const float* second : {b.data(), static_cast<const float*>(nullptr)}) {
      Guarded got(before);
      Guarded expected(before);
      kernels_.add_product(got.data(), 0.7F, a.data(), second, n);
      reference::add_product(expected.data(), 0.7F, a.data(), second, n);
      ASSERT_TRUE(got.whole());
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double product = std::abs(double{a[i]}) * (second == nullptr ? 1 : std::abs(b[i]));
        expect_same(got[i], expected[i], 4, product + std::abs(double{before[i]}), i);
      }
    }
    Guarded scaled(a);
    kernels_.scale(scaled.data(), -0.3F, n);
    ASSERT_TRUE(scaled.whole());
    for (std::size_t i = 0; i < scaled.size(); ++i) ASSERT_EQ(scaled[i], a[i] * -0.3F);
    std::vector<float> expected(a.size());
    reference::softmax_backward(a.data(), b.data(), 0.4F, 0.7F, expected.data(), n);
    for (const bool over_a : {true, false}) {
      Guarded got(over_a ? a : b);
      kernels_.softmax_backward(over_a ? got.data() : a.data(), over_a ? b.data() : got.data(),
                                0.4F, 0.7F, got.data(), n);
      ASSERT_TRUE(got.whole());
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i]) << i;
    }
  }
}

TEST_P(GradientsOnIsa, Sums) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto a = values(n, 1e3F);
    const auto b = values(n);
    double size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) size += std::abs(double{a[i]} * b[i]);
    expect_same(kernels_.dot(a.data(), b.data(), n), reference::dot(a.data(), b.data(), n),
                of_sum(n), size, 0);
    // Squares are exact in float64, so nothing is left to the ISA.
    EXPECT_EQ(kernels_.sum_of_squares(a.data(), n), reference::sum_of_squares(a.data(), n));
  }
  const std::vector<float> huge(3, 3e38F);
  EXPECT_NEAR(kernels_.sum_of_squares(huge.data(), 3) / 2.7e77, 1, 1e-6);
}

// The whole range of float, dense where functions bend, with every special value.
std::vector<float> activation_inputs() {
  std::vector<float> x{0.0F,   -0.0F,   kInfinity, -kInfinity, kNan,  1e-45F,
                       1e-38F, -1e-38F, 3.4e38F,   -3.4e38F,   1e20F, -1e20F};
  for (int i = -30'000; i <= 30'000; ++i) x.push_back(static_cast<float>(i) * 4e-3F);
  for (int exponent = -40; exponent < 10; ++exponent) {
    for (int i = 0; i < 40; ++i) {
      const float value = std::ldexp(1.0F + static_cast<float>(i) / 40.0F, exponent);
      x.push_back(value);
      x.push_back(-value);
    }
  }
  return x;
}

/// What the exponential inside is taken of: rounding it moves the terms by this many ulp more.
double exponent_size(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      return 2 * std::abs(1.6 * (x + 0.044715 * x * x * x));
    case Activation::quick_gelu:
      return std::abs(1.702 * x);
    default:
      return 0;
  }
}

TEST_P(GradientsOnIsa, ActivationSlopesOverTheWholeRange) {
  const std::vector<float> x = activation_inputs();
  const std::vector<float> ones(x.size(), 1.0F);
  for (int which = 0; which <= static_cast<int>(Activation::sigmoid); ++which) {
    const auto activation = static_cast<Activation>(which);
    SCOPED_TRACE("activation " + std::to_string(which));
    Guarded slope(x);
    Guarded dup(x);
    kernels_.gated_activation_backward(activation, x.data(), ones.data(), ones.data(), slope.data(),
                                       dup.data(), std::ssize(x));
    Guarded forward(x);
    row_kernels(GetParam())
        .gated_activation(activation, x.data(), ones.data(), forward.data(), std::ssize(x));
    ASSERT_TRUE(slope.whole() && dup.whole());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(dup[i]), std::bit_cast<std::uint32_t>(forward[i]))
          << x[i];
      const auto [expected, terms] = reference::activation_slope(activation, x[i]);
      const double e = exponent_size(activation, x[i]);
      // Each term is good to some ulp; what underflows carries an absolute error, times x and what
      // gelu's cubic makes of it.
      const double size = std::min(std::abs(double{x[i]}), 1e3);
      const double floor = 0x1p-147 * (1 + size + 0.3 * size * size * size);
      const double bound = std::isinf(terms) || terms == 0 ? 0 : (8 + 2 * e) * kUlp * terms;
      expect_near(slope[i], static_cast<float>(expected), bound + floor, i);
      if (HasFatalFailure()) FAIL() << "x " << x[i];
    }
  }
}

TEST_P(GradientsOnIsa, GatedActivationBackwardInPlace) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(context(n));
    const auto gate = values(n, 3.0F);
    const auto up = values(n);
    const auto dout = values(n);
    std::vector<float> dgate(gate.size());
    std::vector<float> dup(gate.size());
    kernels_.gated_activation_backward(Activation::silu, gate.data(), up.data(), dout.data(),
                                       dgate.data(), dup.data(), n);
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const auto [slope, terms] = reference::activation_slope(Activation::silu, gate[i]);
      const double outer = double{dout[i]} * up[i];
      expect_near(dgate[i], outer * slope, 10 * kUlp * std::abs(outer) * terms, i);
      const double through = dout[i] * reference::activate(Activation::silu, gate[i]);
      expect_near(dup[i], through, 8 * kUlp * std::abs(through), i);
    }
    // Each output over each input.
    for (int where = 0; where < 6; ++where) {
      Guarded inputs[] = {Guarded(gate), Guarded(up), Guarded(dout)};
      float* const over[] = {inputs[0].data(), inputs[1].data(), inputs[2].data()};
      const int first = where % 3;
      const int second = (first + 1 + where / 3) % 3;
      kernels_.gated_activation_backward(Activation::silu, over[0], over[1], over[2], over[first],
                                         over[second], n);
      for (const Guarded& input : inputs) ASSERT_TRUE(input.whole());
      for (std::size_t i = 0; i < gate.size(); ++i) {
        ASSERT_EQ(over[first][i], dgate[i]);
        ASSERT_EQ(over[second][i], dup[i]);
      }
    }
  }
}

TEST_P(GradientsOnIsa, AdamW) {
  for (const std::int64_t n : kSizes) {
    for (const double beta1 : {0.9, 0.3}) {
      SCOPED_TRACE(context(n));
      const AdamWStep step = {.learning_rate = 1e-2,
                              .beta1 = beta1,
                              .beta2 = 0.99,
                              .eps = 1e-6,
                              .weight_decay = 0.1,
                              .gradient_scale = 0.5,
                              .bias_correction1 = 1 - beta1 * beta1,
                              .bias_correction2_sqrt = std::sqrt(1 - 0.99 * 0.99)};
      const auto gradient = values(n);
      const auto value = values(n);
      const auto first = values(n);
      auto second = values(n);
      for (float& moment : second) moment = moment * moment + 0.01F;
      Guarded got[] = {Guarded(value), Guarded(first), Guarded(second)};
      Guarded expected[] = {Guarded(value), Guarded(first), Guarded(second)};
      kernels_.adamw(step, gradient.data(), got[0].data(), got[1].data(), got[2].data(), n);
      reference::adamw(step, gradient.data(), expected[0].data(), expected[1].data(),
                       expected[2].data(), n);
      for (std::size_t i = 0; i < value.size(); ++i) {
        const double moment = std::abs(double{first[i]}) + std::abs(double{gradient[i]});
        expect_same(got[1][i], expected[1][i], 4, moment, i);
        expect_same(got[2][i], expected[2][i], 4, expected[2][i], i);
        // The update is at most 0.01 / 0.19 of a moment over sqrt(0.01 * 0.99) / 0.14.
        expect_same(got[0][i], expected[0][i], 12, std::abs(double{value[i]}) + moment, i);
      }
      for (const Guarded& array : got) ASSERT_TRUE(array.whole());
    }
  }
}

TEST_P(GradientsOnIsa, CrossEntropyBackward) {
  constexpr float kWeight = 0.125F;
  for (const std::int64_t n : {1, 2, 15, 16, 17, 33, 1000, 32'003}) {
    for (const float width : {1.0F, 30.0F}) {
      SCOPED_TRACE(context(n));
      auto logits = values(n, width);
      if (n > 16) logits[4] = -kInfinity;
      const auto top = std::max_element(logits.begin(), logits.end());
      for (const std::int64_t label : {std::int64_t{0}, n - 1, top - logits.begin()}) {
        std::vector<double> expected(logits.size());
        const double loss =
            reference::cross_entropy_backward(logits.data(), n, label, kWeight, expected.data());
        Guarded got(logits);
        const double got_loss = kernels_.cross_entropy_backward(got.data(), n, label, kWeight);
        ASSERT_TRUE(got.whole());
        // An exponential is off by 2 ulp and by the rounding of its argument; their sum by as much
        // as they are together.
        const auto relative = [&](std::size_t i) {
          if (std::isinf(logits[i])) return 0.0;
          return (2 + std::abs(double{logits[i]} - *top) / 2) * kUlp;
        };
        double of_sum = 0;
        double largest = 0;
        for (std::size_t i = 0; i < logits.size(); ++i) {
          const bool of_label = i == static_cast<std::size_t>(label);
          of_sum += relative(i) * (expected[i] / kWeight + (of_label ? 1 : 0));
          largest = std::max(largest, relative(i));
        }
        ASSERT_TRUE(std::abs(got_loss - loss) <=
                    of_sum + (static_cast<double>(n) / 16 + 8) * 0x1p-52 * (1 + std::abs(loss)))
            << got_loss << " for " << loss;
        for (std::size_t i = 0; i < got.size(); ++i) {
          const bool of_label = i == static_cast<std::size_t>(label);
          const double error = (of_label ? largest : relative(i)) + of_sum + 2 * kUlp;
          // The label's softmax - 1 is rounded as float64 sums near 1 are.
          const double floor = of_label ? (static_cast<double>(n) / 16 + 8) * 0x1p-53 : 0x1p-146;
          expect_near(got[i], expected[i], error * std::abs(expected[i]) + kWeight * floor, i);
        }
      }
    }
  }
}

TEST_P(GradientsOnIsa, CrossEntropyOfSpecialLogits) {
  for (const float poison : {kNan, kInfinity}) {
    std::vector<float> logits(40, 0.5F);
    logits[37] = poison;
    EXPECT_TRUE(std::isnan(kernels_.cross_entropy_backward(logits.data(), 40, 3, 1.0F)));
    EXPECT_TRUE(std::isnan(logits[3]));
  }
  std::vector<float> logits(40, 0.5F);
  logits[3] = -kInfinity;  // a label that the model excludes
  EXPECT_EQ(kernels_.cross_entropy_backward(logits.data(), 40, 3, 2.0F), kInfinity);
  EXPECT_EQ(logits[3], -2.0F);
}

INSTANTIATE_TEST_SUITE_P(Gradients, GradientsOnIsa, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST(Gradients, AvxIsasAgreeBitForBit) {
  if (available_isas().back() < Isa::avx512_vnni) GTEST_SKIP() << "needs AVX-512";
  const GradientKernels a = gradient_kernels(Isa::avx2);
  const GradientKernels b = gradient_kernels(available_isas().back());
  const auto same = [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  };
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  for (const std::int64_t n : kSizes) {
    if (n == 0) continue;
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& value : x) value = normal(random);
    auto y = x;
    auto z = x;
    for (int which = 0; which <= static_cast<int>(Activation::sigmoid); ++which) {
      const auto activation = static_cast<Activation>(which);
      auto y2 = x;
      auto z2 = x;
      a.gated_activation_backward(activation, x.data(), x.data(), x.data(), y.data(), y2.data(), n);
      b.gated_activation_backward(activation, x.data(), x.data(), x.data(), z.data(), z2.data(), n);
      EXPECT_TRUE(same(y, z) && same(y2, z2)) << n << ", activation " << which;
    }
    y = x;
    z = x;
    EXPECT_EQ(a.cross_entropy_backward(y.data(), n, n / 2, 0.3F),
              b.cross_entropy_backward(z.data(), n, n / 2, 0.3F));
    EXPECT_TRUE(same(y, z)) << n;
  }
}

// The references themselves, against differences in float64.
TEST(GradientReferences, AreDerivatives) {
  for (int which = 0; which <= static_cast<int>(Activation::sigmoid); ++which) {
    const auto activation = static_cast<Activation>(which);
    for (double x = -6.05; x < 6; x += 0.1) {
      constexpr double kStep = 1e-5;
      const double difference = (reference::activate(activation, x + kStep) -
                                 reference::activate(activation, x - kStep)) /
                                (2 * kStep);
      // The third derivative times the step squared, and rounding over the step.
      EXPECT_NEAR(reference::activation_slope(activation, x).value, difference, 1e-9)
          << which << ", " << x;
    }
  }
  // sum of dy rms_norm(x), moved along each x.
  const std::vector<float> x = {0.5F, -1.25F, 2.0F, 0.25F, -0.75F};
  const std::vector<float> weight = {1.0F, 0.5F, -2.0F, 1.5F, 0.25F};
  const std::vector<float> dy = {0.3F, -0.7F, 0.2F, 1.1F, -0.4F};
  const auto sum = [&](std::size_t moved, double by) {
    double squares = 0;
    double products = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = x[i] + (i == moved ? by : 0);
      squares += value * value;
      products += value * weight[i] * dy[i];
    }
    return 0.7 * products / std::sqrt(squares / 5 + 1e-2);
  };
  std::vector<float> dx(x.size());
  reference::rms_norm_backward(x.data(), weight.data(),
                               reference::reciprocal_rms(x.data(), 1e-2F, 5), 0.7F, dy.data(),
                               dx.data(), 5);
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(dx[i], (sum(i, 1e-5) - sum(i, -1e-5)) / 2e-5, 1e-6) << i;
  }
}

}  // namespace
}  // namespace diffllama
