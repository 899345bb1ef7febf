// PolyNorm and its backward on every ISA, against the equations in double; and what the family's
// other members need of the row kernels.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/gradient_kernels.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/elementwise.h"
#include "kernels/isa.h"

namespace diffllama {
namespace {

constexpr std::int64_t kSizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 127, 300, 1000};

using Doubles = std::vector<double>;

struct Row {
  Doubles gate, up, dout;
  std::array<double, 4> parameters{};
};

double inverse_rms(const Doubles& x, int power) {
  double sum = 0;
  for (const double value : x) sum += std::pow(value, 2 * power);
  return 1 / std::sqrt(sum / static_cast<double>(x.size()) + 1e-6);
}

Doubles forward(const Row& row) {
  const auto& [gate, up, dout, w] = row;
  const double r1 = inverse_rms(gate, 1), r2 = inverse_rms(gate, 2), r3 = inverse_rms(gate, 3);
  Doubles out;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double x = gate[i];
    out.push_back((w[0] * r3 * x * x * x + w[1] * r2 * x * x + w[2] * r1 * x + w[3]) * up[i]);
  }
  return out;
}

double loss(const Row& row) {
  const Doubles out = forward(row);
  double sum = 0;
  for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * row.dout[i];
  return sum;
}

double slope(Row& row, double& value) {
  constexpr double kStep = 1e-5;
  const double kept = value;
  value = kept + kStep;
  const double above = loss(row);
  value = kept - kStep;
  const double below = loss(row);
  value = kept;
  return (above - below) / (2 * kStep);
}

std::vector<float> floats(const Doubles& values) { return {values.begin(), values.end()}; }

class PolyNorm : public testing::TestWithParam<Isa> {
 protected:
  PolyNorm() : seed_(std::random_device{}()), random_(seed_) {}
  Row row(std::int64_t n) {
    std::normal_distribution<float> normal;
    Row row;
    for (Doubles* values : {&row.gate, &row.up, &row.dout}) {
      for (std::int64_t i = 0; i < n; ++i) values->push_back(normal(random_));
    }
    for (double& value : row.parameters) value = normal(random_);
    return row;
  }
  unsigned seed_;
  std::mt19937 random_;
};

TEST_P(PolyNorm, IsTheEquation) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE("n " + std::to_string(n) + ", seed " + std::to_string(seed_));
    const Row test = row(n);
    const Doubles wanted = forward(test);
    std::vector<float> gate = floats(test.gate);
    gate.push_back(77.0F);  // a guard
    const std::vector<float> up = floats(test.up);
    const std::vector<float> parameters(test.parameters.begin(), test.parameters.end());
    row_kernels(GetParam()).poly_norm(gate.data(), up.data(), parameters.data(), gate.data(), n);
    EXPECT_EQ(gate.back(), 77.0F);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      // Terms of a few units, each good to some ulp, times up.
      double terms = 0;
      for (int power = 0; power < 4; ++power) {
        const double scale = power == 0 ? 1 : inverse_rms(test.gate, power);
        terms += std::abs(test.parameters[static_cast<std::size_t>(3 - power)] * scale *
                          std::pow(test.gate[i], power));
      }
      const double allowed = 60 * 0x1p-24 * terms * std::abs(test.up[i]) + 1e-37;
      ASSERT_TRUE(std::abs(double{gate[i]} - wanted[i]) <= allowed)
          << i << ": " << gate[i] << " for " << wanted[i];
    }
  }
}

TEST_P(PolyNorm, BackwardIsTheDerivative) {
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE("n " + std::to_string(n) + ", seed " + std::to_string(seed_));
    Row test = row(n);
    const std::vector<float> gate = floats(test.gate);
    const std::vector<float> up = floats(test.up);
    const std::vector<float> parameters(test.parameters.begin(), test.parameters.end());
    std::vector<float> dgate(gate.size());
    std::vector<float> dup = floats(test.dout);  // written over dout, as the layer does
    std::array<float, 4> d_parameters{};
    gradient_kernels(GetParam())
        .poly_norm_backward(gate.data(), up.data(), parameters.data(), dup.data(), dgate.data(),
                            dup.data(), d_parameters.data(), n);
    const auto near = [&](float got, double wanted, const char* what, std::size_t i) {
      EXPECT_TRUE(std::abs(double{got} - wanted) <= 2e-4 * std::max(1.0, std::abs(wanted)))
          << what << "[" << i << "]: " << got << " for " << wanted;
    };
    for (std::size_t i = 0; i < gate.size() && !HasFailure(); ++i) {
      // n = 1 divides by the one value: its slopes are steep near 0.
      if (n == 1 && std::abs(test.gate[i]) < 0.1) continue;
      near(dgate[i], slope(test, test.gate[i]), "dgate", i);
      near(dup[i], slope(test, test.up[i]), "dup", i);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      near(d_parameters[i], slope(test, test.parameters[i]), "d_parameters", i);
    }
  }
}

TEST_P(PolyNorm, WeightedSumMayBeWrittenOverItsSecondMap) {
  for (const std::int64_t n : kSizes) {
    const Row test = row(n);
    const std::vector<float> x1 = floats(test.gate);
    const std::vector<float> x2 = floats(test.up);
    std::vector<float> apart(x1.size());
    std::vector<float> over = x2;
    const RowKernels kernels = row_kernels(GetParam());
    kernels.weighted_sum(x1.data(), 0.7F, x2.data(), -0.3F, apart.data(), n);
    kernels.weighted_sum(x1.data(), 0.7F, over.data(), -0.3F, over.data(), n);
    EXPECT_EQ(over, apart) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, PolyNorm, testing::ValuesIn(available_isas()),
                         [](const testing::TestParamInfo<Isa>& isa) {
                           return std::string(isa_name(isa.param));
                         });

TEST(RotaryInterleaved, TurnsNeighbours) {
  const std::array<float, 3> cos = {0.5F, -1.0F, 0.25F};
  const std::array<float, 3> sin = {0.75F, 0.5F, -2.0F};
  std::array<float, 6> x = {1, 2, 3, 4, 5, 6};
  std::array<float, 6> halves = {1, 3, 5, 2, 4, 6};
  rotary_embed_interleaved(x.data(), cos.data(), sin.data(), 6);
  rotary_embed(halves.data(), cos.data(), sin.data(), 6);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(x.at(2 * i), halves.at(i));
    EXPECT_EQ(x.at(2 * i + 1), halves.at(i + 3));
  }
}

}  // namespace
}  // namespace diffllama
