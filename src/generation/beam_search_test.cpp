#include "generation/beam_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Ids = std::vector<std::int64_t>;

constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

// Log-probabilities that follow from the tokens before: token 0 ends.
std::vector<float> row_after(const Ids& ids, std::size_t vocabulary, unsigned seed) {
  std::seed_seq mix(ids.begin(), ids.end());
  std::vector<std::uint32_t> words(1);
  mix.generate(words.begin(), words.end());
  std::mt19937 random(words[0] ^ seed);
  std::vector<float> row(vocabulary);
  float total = 0;
  for (float& x : row) total += x = std::exponential_distribution<float>()(random) + 0.01F;
  for (float& x : row) x = std::log(x / total);
  return row;
}

struct Result {
  Ids ids;
  float score = 0;
};

std::vector<Result> run(BeamSearch search,
                        const std::function<std::vector<float>(const Ids&)>& model) {
  std::vector<Ids> beams{{}};
  while (!search.done()) {
    std::vector<std::vector<float>> rows;
    std::vector<std::span<const float>> scores;
    rows.reserve(beams.size());
    scores.reserve(beams.size());
    for (const Ids& ids : beams) rows.push_back(model(ids));
    for (const auto& row : rows) scores.emplace_back(row);
    search.step(scores, [](std::int64_t, std::int64_t id) { return id == 0; });
    std::vector<Ids> next;
    for (const BeamSearch::Beam& beam : search.running()) {
      next.push_back(beams[static_cast<std::size_t>(beam.parent)]);
      next.back().push_back(search.node(beam.node).id);
    }
    beams = std::move(next);
  }
  std::vector<Result> results;
  for (const auto& finished : search.finished()) {
    results.push_back({.ids = {}, .score = finished.score});
    for (const std::int64_t node : search.path(finished.node)) {
      results.back().ids.push_back(search.node(node).id);
    }
  }
  return results;
}

// With more beams than there are texts it is a search of all of them.
TEST(BeamSearch, FindsTheBestOfAllWhereItTakesAllAlong) {
  constexpr std::int64_t kLength = 4;
  for (unsigned seed = 0; seed < 20; ++seed) {
    for (const double penalty : {0.0, 1.0, 2.0}) {
      const auto model = [&](const Ids& ids) { return row_after(ids, 4, seed); };
      std::vector<Result> all;
      const std::function<void(Ids, float)> grow = [&](const Ids& ids, float score) {
        if (!ids.empty() && (ids.back() == 0 || std::ssize(ids) == kLength)) {
          const auto divisor = std::pow(static_cast<double>(ids.size()), penalty);
          all.push_back({ids, score / static_cast<float>(divisor)});
          return;
        }
        const std::vector<float> row = model(ids);
        for (std::size_t id = 0; id < row.size(); ++id) {
          Ids longer = ids;
          longer.push_back(static_cast<std::int64_t>(id));
          grow(longer, score + row[id]);
        }
      };
      grow({}, 0);
      std::ranges::stable_sort(all, std::greater<>(), &Result::score);
      const auto results = run(BeamSearch({.num_beams = 150,
                                           .length_penalty = penalty,
                                           .early_stopping = EarlyStopping::never,
                                           .max_new_tokens = kLength,
                                           .ending_tokens = 1}),
                               model);
      ASSERT_GE(results.size(), 5U);
      for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(results[i].ids, all[i].ids) << "seed " << seed << ", penalty " << penalty;
        EXPECT_EQ(results[i].score, all[i].score);
      }
    }
  }
}

// The best of what is drawn without replacement, against every order of draws.
TEST(BeamSearch, SamplesWithoutReplacement) {
  const std::vector<float> row = {std::log(0.02F), std::log(0.05F), std::log(0.08F),
                                  std::log(0.15F), std::log(0.3F),  std::log(0.4F)};
  constexpr std::int64_t kBeams = 2;
  constexpr std::size_t kDraws = 4;
  std::vector<double> expected(row.size(), 0.0);
  const std::function<void(std::vector<std::size_t>, double, double)> draw =
      [&](const std::vector<std::size_t>& taken, double chance, double left) {
        if (taken.size() == kDraws) {
          expected[*std::ranges::max_element(taken)] += chance;  // the likeliest of them
          return;
        }
        for (std::size_t id = 0; id < row.size(); ++id) {
          if (std::ranges::count(taken, id) > 0) continue;
          auto more = taken;
          more.push_back(id);
          const double p = std::exp(double{row[id]});
          draw(more, chance * p / left, left - p);
        }
      };
  draw({}, 1, 1);
  constexpr int kRuns = 20000;
  std::vector<int> counts(row.size(), 0);
  for (int seed = 0; seed < kRuns; ++seed) {
    const auto results = run(BeamSearch({.num_beams = kBeams,
                                         .max_new_tokens = 1,
                                         .ending_tokens = 1,
                                         .samples = true,
                                         .seed = static_cast<std::uint64_t>(seed)}),
                             [&](const Ids&) { return std::vector<float>(row); });
    ++counts[static_cast<std::size_t>(results[0].ids[0])];
  }
  double chi_square = 0;
  int cells = 0;
  for (std::size_t id = 0; id < row.size(); ++id) {
    const double mean = kRuns * expected[id];
    if (mean < 5) {
      EXPECT_LT(counts[id], 30);
      continue;
    }
    chi_square += (counts[id] - mean) * (counts[id] - mean) / mean;
    ++cells;
  }
  ASSERT_GE(cells, 3);
  // Both bounds: too far away, and too close to be random. Seeds are fixed, so it never flickers.
  EXPECT_LT(chi_square, 25);
  EXPECT_GT(chi_square, 0.01);
}

TEST(BeamSearch, GivesUpBeamsThatCannotGoOn) {
  // After 1 only 2 may come, after 2 nothing but the end.
  const auto model = [](const Ids& ids) -> std::vector<float> {
    if (ids.empty()) return {kRuledOut, -1, kRuledOut};
    if (ids.back() == 1) return {kRuledOut, kRuledOut, -1};
    return {-1, kRuledOut, kRuledOut};
  };
  const auto results =
      run(BeamSearch({.num_beams = 4, .max_new_tokens = 9, .ending_tokens = 1}), model);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].ids, (Ids{1, 2, 0}));
  EXPECT_FLOAT_EQ(results[0].score, -1);
  const auto nothing = [](const Ids&) { return std::vector<float>(3, kRuledOut); };
  for (const bool samples : {false, true}) {
    EXPECT_THAT(
        [&] {
          run(BeamSearch({.num_beams = 4, .max_new_tokens = 9, .samples = samples}), nothing);
        },
        ThrowsMessage<Error>(HasSubstr("every one of every beam ruled out")));
  }
}

TEST(BeamSearch, AHugePenaltyStillGivesSequences) {
  for (const double penalty : {1000.0, -1000.0}) {
    const auto results = run(
        BeamSearch(
            {.num_beams = 2, .length_penalty = penalty, .max_new_tokens = 6, .ending_tokens = 1}),
        [](const Ids& ids) { return row_after(ids, 5, 1); });
    ASSERT_EQ(results.size(), 2U);
    for (const Result& result : results) EXPECT_TRUE(std::isfinite(result.score));
  }
}

}  // namespace
}  // namespace diffllama
