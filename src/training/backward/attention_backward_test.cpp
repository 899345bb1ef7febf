#include "training/backward/attention_backward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace diffllama {
namespace {

// One random layer, all of it in double: sequence, masks, and the gradient that comes in.
struct Case {
  AttentionGeometry geometry;
  std::int64_t tokens = 0;
  double lambda = 0.37;
  DifferentialParameters differential{
      .lambda = 0.37F, .norm = true, .output_scale = 0.62F, .eps = 1e-5F};
  std::vector<double> queries, keys, values, d_output;
  std::vector<std::int64_t> slots, limits;  // as AttentionGradientInput has them
  std::vector<std::uint8_t> mask;           // [T, T], or empty
  std::int64_t key_count = 0;

  bool sees(std::int64_t t, std::int64_t slot) const {
    return mask.empty() ? slot < limits[static_cast<std::size_t>(t)]
                        : mask[static_cast<std::size_t>(t * tokens + slot)] != 0;
  }
};

enum class Kind { causal, hidden_tokens, mask };

Case random_case(std::mt19937& random, std::int64_t maps, Kind kind) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  Case test;
  const std::int64_t d = 2 * pick(1, 9);
  test.geometry = AttentionGeometry::of_halves(maps, pick(1, 2), pick(1, 3), d);
  test.differential.norm = maps == 2;
  test.tokens = pick(1, 12);
  const auto fill = [&](std::vector<double>& values, std::int64_t count) {
    values.resize(static_cast<std::size_t>(count));
    for (double& value : values) value = std::normal_distribution<float>()(random);
  };
  fill(test.queries, test.tokens * test.geometry.query_heads() * d);
  fill(test.keys, test.tokens * test.geometry.key_heads * d);
  fill(test.values, test.tokens * test.geometry.key_heads * d);
  fill(test.d_output, test.tokens * test.geometry.output_heads() * test.geometry.value_columns);
  for (std::int64_t t = 0; t < test.tokens; ++t) {
    const bool seen = kind != Kind::hidden_tokens || pick(0, 2) != 0;
    test.slots.push_back(seen ? test.key_count++ : -1);
    test.limits.push_back(test.key_count);
  }
  if (kind == Kind::mask) {
    for (std::int64_t i = 0; i < test.tokens * test.tokens; ++i) {
      test.mask.push_back(static_cast<std::uint8_t>(pick(0, 1)));
    }
  }
  return test;
}

std::int64_t token_of_slot(const Case& test, std::int64_t slot) {
  return std::ranges::find(test.slots, slot) - test.slots.begin();
}

// What a forward computes of one case (docs/model.md "One layer"), in double.
struct Outputs {
  std::vector<double> output, reciprocal_rms;
  double loss = 0;  // sum of output * d_output
};

Outputs forward(const Case& test) {
  const AttentionGeometry& g = test.geometry;
  const std::int64_t d = g.head_dim;
  const std::int64_t width = g.value_columns;
  Outputs result;
  result.output.resize(test.d_output.size());
  result.reciprocal_rms.resize(static_cast<std::size_t>(test.tokens * g.output_heads()));
  for (std::int64_t t = 0; t < test.tokens; ++t) {
    for (std::int64_t p = 0; p < g.output_heads(); ++p) {
      std::vector<double> row(static_cast<std::size_t>(width));
      for (std::int64_t map = 0; map < g.maps; ++map) {
        const std::int64_t head = p + map * g.output_heads();
        std::vector<double> weights(static_cast<std::size_t>(test.key_count));
        double sum = 0;
        for (std::int64_t s = 0; s < test.key_count; ++s) {
          if (!test.sees(t, s)) continue;
          const double* q = test.queries.data() + (t * g.query_heads() + head) * d;
          const double* k =
              test.keys.data() + (token_of_slot(test, s) * g.key_heads + head / g.group_heads) * d;
          double dot = 0;
          for (std::int64_t i = 0; i < d; ++i) dot += q[i] * k[i];
          sum += weights[static_cast<std::size_t>(s)] =
              std::exp(dot / std::sqrt(static_cast<double>(d)));
        }
        for (std::int64_t s = 0; s < test.key_count && sum != 0; ++s) {
          const double weight =
              weights[static_cast<std::size_t>(s)] / sum * (map == 0 ? 1.0 : -test.lambda);
          const std::int64_t j = p / g.group_heads;
          for (std::int64_t c = 0; c < width; ++c) {
            const std::int64_t value_head = j + c / d * g.groups;
            row[static_cast<std::size_t>(c)] +=
                weight * test.values[static_cast<std::size_t>(
                             (token_of_slot(test, s) * g.key_heads + value_head) * d + c % d)];
          }
        }
      }
      double factor = 1;
      const std::int64_t at = t * g.output_heads() + p;
      if (g.maps == 2) {
        double squares = 0;
        for (const double value : row) squares += value * value;
        const double r =
            1 / std::sqrt(squares / static_cast<double>(width) + double{test.differential.eps});
        result.reciprocal_rms[static_cast<std::size_t>(at)] = r;
        factor = r * double{test.differential.output_scale};
      }
      for (std::int64_t c = 0; c < width; ++c) {
        const auto i = static_cast<std::size_t>(at * width + c);
        result.output[i] = row[static_cast<std::size_t>(c)] * factor;
        result.loss += result.output[i] * test.d_output[i];
      }
    }
  }
  return result;
}

std::vector<float> floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

// The derivative of the loss by `value`, by central differences. In double, steps of 1e-5 are good
// to about 1e-9 of the values here.
double difference(Case& test, double& value) {
  constexpr double kStep = 1e-5;
  const double kept = value;
  value = kept + kStep;
  const double above = forward(test).loss;
  value = kept - kStep;
  const double below = forward(test).loss;
  value = kept;
  return (above - below) / (2 * kStep);
}

struct Gradients {
  std::vector<float> queries, keys, values;
  double lambda = 0;
};

Gradients backward(const Case& test, int threads) {
  const Outputs outputs = forward(test);
  const std::vector<float> queries = floats(test.queries);
  const std::vector<float> keys = floats(test.keys);
  const std::vector<float> values = floats(test.values);
  const std::vector<float> d_output = floats(test.d_output);
  const std::vector<float> output = floats(outputs.output);
  const std::vector<float> reciprocal_rms = floats(outputs.reciprocal_rms);
  Gradients result;
  result.queries.assign(queries.size(), NAN);
  result.keys.assign(keys.size(), NAN);
  result.values.assign(values.size(), NAN);
  AttentionGradientInput input = {.tokens = test.tokens,
                                  .queries = queries.data(),
                                  .keys = keys.data(),
                                  .values = values.data(),
                                  .slots = test.slots.data(),
                                  .key_limit = test.limits.data(),
                                  .reciprocal_rms = reciprocal_rms.data(),
                                  .output = output.data(),
                                  .d_output = d_output.data(),
                                  .d_queries = result.queries.data(),
                                  .d_keys = result.keys.data(),
                                  .d_values = result.values.data()};
  if (!test.mask.empty()) {
    input.mask = test.mask.data();
    input.mask_stride = test.tokens;
  }
  AttentionBackwardScratch scratch;
  const Parallel parallel(threads);
  result.lambda =
      attention_backward(test.geometry, test.differential, {input}, scratch, parallel).lambda;
  return result;
}

// The gradients sum a few dozen float32 products of numbers that are a few units large; what enters
// the per-head norm can be small, which multiplies them by up to 1 / rms.
void expect_near(std::vector<double>& at, const std::vector<float>& gradient, Case& test,
                 const char* name) {
  std::vector<double> wanted(at.size());
  double largest = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    wanted[i] = difference(test, at[i]);
    largest = std::max(largest, std::abs(wanted[i]));
  }
  const double tolerance = 2e-5 * std::max(largest, 1.0);
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double off = std::abs(double{gradient[i]} - wanted[i]);
    ASSERT_TRUE(off <= tolerance) << name << "[" << i << "]: expected " << wanted[i] << ", got "
                                  << gradient[i];
  }
}

class AttentionBackward : public testing::TestWithParam<Kind> {};

TEST_P(AttentionBackward, IsTheDerivative) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int trial = 0; trial < 12; ++trial) {
    Case test = random_case(random, 1 + trial % 2, GetParam());
    SCOPED_TRACE("tokens " + std::to_string(test.tokens) + ", maps " +
                 std::to_string(test.geometry.maps) + ", d " +
                 std::to_string(test.geometry.head_dim));
    const Gradients gradients = backward(test, 1);
    expect_near(test.queries, gradients.queries, test, "queries");
    expect_near(test.keys, gradients.keys, test, "keys");
    expect_near(test.values, gradients.values, test, "values");
    if (test.geometry.maps == 2) {
      const double wanted = difference(test, test.lambda);
      EXPECT_TRUE(std::abs(gradients.lambda - wanted) <= 5e-5 * std::max(1.0, std::abs(wanted)))
          << "lambda: expected " << wanted << ", got " << gradients.lambda;
    }
  }
}

TEST_P(AttentionBackward, IsTheSameBitsWithAnyNumberOfThreads) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const Case test = random_case(random, 2, GetParam());
  const Gradients one = backward(test, 1);
  const Gradients three = backward(test, 3);
  EXPECT_EQ(one.queries, three.queries);
  EXPECT_EQ(one.keys, three.keys);
  EXPECT_EQ(one.values, three.values);
  EXPECT_EQ(one.lambda, three.lambda);
}

const char* kind_name(const testing::TestParamInfo<Kind>& kind) {
  switch (kind.param) {
    case Kind::causal:
      return "causal";
    case Kind::hidden_tokens:
      return "hidden_tokens";
    default:
      return "mask";
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AttentionBackward,
                         testing::Values(Kind::causal, Kind::hidden_tokens, Kind::mask), kind_name);

}  // namespace
}  // namespace diffllama
