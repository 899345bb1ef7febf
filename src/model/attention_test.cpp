#include "model/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "tensor/half.h"

namespace diffllama {
namespace {

// One random layer: queries, keys and values of one sequence, and the numbers of the layer.
struct Case {
  AttentionGeometry geometry;
  std::int64_t tokens;
  std::vector<float> queries, keys, values;
  DifferentialParameters differential{
      .lambda = 0.37F, .norm = true, .output_scale = 0.62F, .eps = 1e-5F};
};

Case random_case(std::mt19937& random, std::int64_t maps, std::int64_t tokens) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  Case test;
  const std::int64_t d = 2 * pick(1, 20);
  test.geometry = AttentionGeometry::of_halves(maps, pick(1, 3), pick(1, 5), d);
  test.differential.norm = maps == 2;
  test.tokens = tokens;
  const auto fill = [&](std::vector<float>& values, std::int64_t heads) {
    values.resize(static_cast<std::size_t>(tokens * heads * d));
    for (float& value : values) value = std::normal_distribution<float>()(random);
  };
  fill(test.queries, test.geometry.query_heads());
  fill(test.keys, test.geometry.key_heads);
  fill(test.values, test.geometry.key_heads);
  return test;
}

float rounded(float value, ProductType type) {
  return type == ProductType::bfloat16 ? bfloat16_to_float(float_to_bfloat16(value)) : value;
}

// The output in double, and how far from it float32 or bfloat16 products may be.
struct Reference {
  std::vector<double> output, tolerance;
};

// What a weight of the softmax maps may be off by, relative. float32: a score is a sum of at most
// 40 products whose absolute values sum to less than 20, an exponential is off by as much, and so
// is the sum of at most 300 of them that divides it, which adds 300 roundings of its own: 2 * 40 *
// 20 * 2^-24 + 300 * 2^-24 = 1.2e-4 at the very worst. bfloat16: exponentials are rounded to 11
// bits and P to 8 as well, 2^-12 + 2^-9.
double weight_error(ProductType type) {
  return 1.2e-4 + (type == ProductType::bfloat16 ? 0x1p-11 + 0x1p-8 : 0);
}

// What the two maps' weights of a key may be off by, however small they are.
double step_error(ProductType type) { return type == ProductType::bfloat16 ? 2 * 0x1p-25 : 0; }

// The equations of docs/model.md "One layer" in double, token t seeing keys [0, t].
Reference reference(const Case& test, ProductType type) {
  const AttentionGeometry& g = test.geometry;
  const std::int64_t d = g.head_dim, width = g.value_columns;
  const auto outputs = static_cast<std::size_t>(test.tokens * g.output_heads() * width);
  Reference result{.output = std::vector<double>(outputs),
                   .tolerance = std::vector<double>(outputs)};
  for (std::int64_t t = 0; t < test.tokens; ++t) {
    for (std::int64_t p = 0; p < g.output_heads(); ++p) {
      // Of a key: P1 - lambda P2, and P1 + lambda P2, which rounding errors grow with.
      std::vector<double> total(static_cast<std::size_t>(t + 1)), absolute(total);
      for (std::int64_t map = 0; map < g.maps; ++map) {
        const std::int64_t head = p + map * g.output_heads();
        const std::int64_t key_head =
            head / g.group_heads;  // docs/model.md: head h reads KV head h / g
        std::vector<double> scores;
        for (std::int64_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (std::int64_t i = 0; i < d; ++i) {
            dot +=
                static_cast<double>(
                    rounded(test.queries[(t * g.query_heads() + head) * d + i], type)) *
                static_cast<double>(rounded(test.keys[(s * g.key_heads + key_head) * d + i], type));
          }
          scores.push_back(dot / std::sqrt(static_cast<double>(d)));
        }
        const double maximum = *std::ranges::max_element(scores);
        double sum = 0;
        for (double& score : scores) sum += score = std::exp(score - maximum);
        const double weight = map == 0 ? 1.0 : -static_cast<double>(test.differential.lambda);
        for (std::size_t s = 0; s < scores.size(); ++s) {
          total[s] += weight * scores[s] / sum;
          absolute[s] += std::abs(weight) * scores[s] / sum;
        }
      }
      const std::int64_t first = (t * g.output_heads() + p) * width;
      double* row = result.output.data() + first;
      double* tolerance = result.tolerance.data() + first;
      double squares = 0, square_errors = 0;
      for (std::int64_t c = 0; c < width; ++c) {
        const std::int64_t value_head =
            p / g.group_heads % g.groups + c / d * g.groups;  // [v_j | v_{j + K/2}]
        double magnitude = 0, values = 0;
        for (std::int64_t s = 0; s <= t; ++s) {
          const auto value = static_cast<double>(
              rounded(test.values[(s * g.key_heads + value_head) * d + c % d], type));
          row[c] += total[static_cast<std::size_t>(s)] * value;
          magnitude += absolute[static_cast<std::size_t>(s)] * std::abs(value);
          values += std::abs(value);
        }
        tolerance[c] = weight_error(type) * magnitude + step_error(type) * values;
        squares += row[c] * row[c];
        square_errors += tolerance[c] * tolerance[c];
      }
      if (g.maps == 2) {
        // x' / r' - x / r = (x' - x) / r' + x / r * (r - r') / r', and |r - r'| is at most the root
        // mean square of x' - x: where P1 V and lambda P2 V nearly cancel, errors grow.
        const double eps = 1e-5, scale = test.differential.output_scale;
        const double rms = std::sqrt(squares / static_cast<double>(width) + eps);
        const double rms_error = std::sqrt(square_errors / static_cast<double>(width));
        const double least = std::max(rms - rms_error, std::sqrt(eps));
        for (std::int64_t c = 0; c < width; ++c) {
          tolerance[c] = scale * (tolerance[c] + std::abs(row[c]) / rms * rms_error) / least + 1e-6;
          row[c] *= scale / rms;
        }
      }
    }
  }
  return result;
}

// Runs the tokens in chunks of `chunk`, on `threads` threads.
std::vector<float> run(const Case& test, ProductType type, std::int64_t chunk, int threads,
                       CacheType stored = CacheType::automatic) {
  const AttentionGeometry& g = test.geometry;
  const std::int64_t query_width = g.query_heads() * g.head_dim,
                     key_width = g.key_heads * g.head_dim;
  SequenceCache cache(g, 2, type, stored);
  std::vector<float> out(static_cast<std::size_t>(test.tokens * query_width), NAN);
  AttentionScratch scratch;
  const Parallel parallel(threads);
  for (std::int64_t first = 0; first < test.tokens; first += chunk) {
    const std::int64_t tokens = std::min(chunk, test.tokens - first);
    cache.reserve(tokens);
    std::vector<std::int64_t> limits;
    std::vector<std::int64_t> slots;
    for (std::int64_t t = first; t < first + tokens; ++t) {
      slots.push_back(t);
      limits.push_back(t + 1);
    }
    cache.write(1, slots, test.keys.data() + first * key_width,
                test.values.data() + first * key_width, parallel);
    const AttentionInput input{.cache = &cache,
                               .tokens = tokens,
                               .queries = test.queries.data() + first * query_width,
                               .key_limit = limits.data(),
                               .output = out.data() + first * query_width,
                               .maps = {}};
    attention(g, test.differential, 1, {input}, scratch, parallel);
    cache.advance(tokens, tokens);
  }
  return out;
}

class Attention : public testing::TestWithParam<ProductType> {};
INSTANTIATE_TEST_SUITE_P(Types, Attention,
                         testing::Values(ProductType::float32, ProductType::bfloat16));

TEST_P(Attention, IsTheEquations) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const std::int64_t maps : {1, 2}) {
    for (const std::int64_t tokens : {1, 7, 33, 300}) {
      const Case test = random_case(random, maps, tokens);
      const auto [expected, tolerance] = reference(test, GetParam());
      const std::vector<float> found = run(test, GetParam(), tokens, 2);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_TRUE(std::abs(expected[i] - static_cast<double>(found[i])) <= tolerance[i])
            << "maps " << maps << ", tokens " << tokens << ", element " << i << ": expected "
            << expected[i] << " within " << tolerance[i] << ", got " << found[i];
      }
    }
  }
}

TEST_P(Attention, BitsDoNotDependOnChunksOrThreads) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const std::int64_t maps : {1, 2}) {
    const Case test = random_case(random, maps, 530);
    const std::vector<float> whole = run(test, GetParam(), 530, 1);
    for (const std::int64_t chunk : {1, 7, 64, 256}) {
      EXPECT_EQ(run(test, GetParam(), chunk, 2), whole) << "chunk " << chunk;
    }
  }
}

// Of equal bits, but for those of a NaN.
testing::AssertionResult same(const std::vector<float>& found, const std::vector<float>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) ? !std::isnan(found[i]) : found[i] != expected[i]) {
      return testing::AssertionFailure()
             << "element " << i << ": expected " << expected[i] << ", got " << found[i];
    }
  }
  return testing::AssertionSuccess();
}

TEST_P(Attention, WhatATokenMayNotSeeNeverReachesIt) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  // 3e38 is finite until it is rounded to bfloat16.
  const std::array<float, 4> wrong = {NAN, INFINITY, -INFINITY, 3.4e38F};
  for (const CacheType stored : {CacheType::f32, CacheType::bf16, CacheType::q8_0}) {
    for (const std::int64_t maps : {1, 2}) {
      Case test = random_case(random, maps, 300);
      const auto spoilt = static_cast<std::int64_t>(100 + random() % 199);
      const Case before = test;
      const std::int64_t width = test.geometry.key_heads * test.geometry.head_dim;
      for (std::vector<float>* rows : {&test.keys, &test.values}) {
        const auto at = static_cast<std::int64_t>(random() % static_cast<unsigned>(width));
        (*rows)[static_cast<std::size_t>(spoilt * width + at)] = wrong[random() % wrong.size()];
      }
      const std::vector<float> alone = run(test, GetParam(), 1, 1, stored);
      const std::int64_t kept = spoilt * test.geometry.output_heads() * test.geometry.value_columns;
      const std::vector<float> clean = run(before, GetParam(), 300, 1, stored);
      EXPECT_TRUE(std::equal(clean.begin(), clean.begin() + kept, alone.begin()));
      for (const std::int64_t chunk : {7, 64, 300}) {
        EXPECT_TRUE(same(run(test, GetParam(), chunk, 2, stored), alone))
            << "maps " << maps << ", chunk " << chunk << ", token " << spoilt << ", cache "
            << static_cast<int>(stored);
      }
    }
  }
}

TEST_P(Attention, WhatAMaskHidesNeverReachesAToken) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr std::int64_t kTokens = 300;
  for (const std::int64_t maps : {1, 2}) {
    Case test = random_case(random, maps, kTokens);
    const AttentionGeometry& g = test.geometry;
    std::vector<std::uint8_t> mask(kTokens * kTokens);
    for (auto& sees : mask) sees = static_cast<std::uint8_t>(random() % 2);
    const auto spoilt = static_cast<std::int64_t>(random() % kTokens);
    const auto masked = [&] {
      SequenceCache cache(g, 2, GetParam());
      std::vector<float> out(static_cast<std::size_t>(kTokens * g.query_heads() * g.head_dim));
      std::vector<std::int64_t> slots(kTokens), limits(kTokens, kTokens);
      std::iota(slots.begin(), slots.end(), 0);
      AttentionScratch scratch;
      cache.reserve(kTokens);
      cache.write(1, slots, test.keys.data(), test.values.data(), Parallel(1));
      attention(g, test.differential, 1,
                {{.cache = &cache,
                  .tokens = kTokens,
                  .queries = test.queries.data(),
                  .key_limit = limits.data(),
                  .mask = mask.data(),
                  .mask_stride = kTokens,
                  .output = out.data()}},
                scratch, Parallel(2));
      return out;
    };
    const std::vector<float> clean = masked();
    test.values[static_cast<std::size_t>(spoilt * g.key_heads * g.head_dim)] = NAN;
    const std::vector<float> found = masked();
    const std::int64_t width = g.output_heads() * g.value_columns;
    for (std::int64_t t = 0; t < kTokens; ++t) {
      const bool saw = mask[static_cast<std::size_t>(t * kTokens + spoilt)] != 0;
      EXPECT_EQ(std::equal(clean.begin() + t * width, clean.begin() + (t + 1) * width,
                           found.begin() + t * width),
                !saw)
          << "token " << t;
    }
  }
}

TEST(DifferentialLambda, IsEquationTwo) {
  const std::vector<float> q1 = {0.1F, -0.2F}, k1 = {0.3F, 0.4F}, q2 = {0.5F, 0.1F},
                           k2 = {-0.2F, 0.3F};
  const double expected = std::exp(0.03 - 0.08) - std::exp(-0.1 + 0.03) + 0.7;
  EXPECT_NEAR(differential_lambda(q1.data(), k1.data(), q2.data(), k2.data(), 2, 0.7), expected,
              1e-6);
}

TEST(SequenceCacheTest, GrowsWithoutMovingWhatItHolds) {
  const AttentionGeometry geometry = AttentionGeometry::of_halves(2, 1, 2, 4);
  SequenceCache cache(geometry, 1, ProductType::float32);
  cache.reserve(1);
  Buffer<std::uint16_t> unused;
  const std::byte* first = cache.keys(0, 0, 0, 1, unused).data;
  cache.reserve(1000);
  EXPECT_EQ(cache.keys(0, 0, 0, 1, unused).data, first);
}

}  // namespace
}  // namespace diffllama
