#include "training/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/regular_file.h"
#include "checkpoint/test_files.h"
#include "diffllama/error.h"
#include "model/parameters.h"
#include "training/comparison_plot.h"
#include "training/comparison_result.h"

namespace diffllama {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

const std::string kRoot = DIFFLLAMA_SOURCE_DIR;

std::string refusal(const std::string& text) {
  try {
    parse_comparison(text, "FILE");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Comparison, IsReadAndRefusedByName) {
  const Comparison read = parse_comparison(
      R"({"members": {"b": {"model.config": "x"}, "a": {}}, "seeds": [3, 1], "learning_rates": [1e-3]})",
      "FILE");
  ASSERT_EQ(read.members.size(), 2U);
  EXPECT_EQ(read.members[0].name, "b");  // as it stands there
  EXPECT_EQ(read.members[0].fields[0].second, "\"x\"");
  EXPECT_EQ(read.seeds, (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(read.learning_rates, std::vector<double>{1e-3});
  EXPECT_THAT(refusal(R"({"members": {"a": {}}, "seeds": [1]})"),
              HasSubstr("at least two members"));
  EXPECT_THAT(refusal(R"({"members": {"a": {}, "../b": {}}, "seeds": [1]})"),
              HasSubstr("got ../b"));
  EXPECT_THAT(refusal(R"({"members": {"a": {}, "b": 1}, "seeds": [1]})"),
              HasSubstr("compare.members.b"));
  EXPECT_THAT(refusal(R"({"members": {"a": {}, "b": {}}})"), HasSubstr("at least one seed"));
  EXPECT_THAT(refusal(R"({"members": {"a": {}, "b": {}}, "seeds": [1, 1]})"),
              HasSubstr("got 1 twice"));
  EXPECT_THAT(refusal(R"({"members": {"a": {}, "b": {}}, "seeds": [-1]})"),
              HasSubstr("compare.seeds: expected a list of numbers"));
  EXPECT_THAT(refusal(R"({"member": {}})"), HasSubstr("got member"));
  EXPECT_THAT(refusal("[]"), HasSubstr("FILE: compare: expected an object"));
}

Recipe base_recipe() {
  return parse_recipe(R"({"model": {"from": "M"}, "data": {"kind": "text", "train": "T"},
                          "checkpoints": {"output_dir": "OUT"}})",
                      "base");
}

TEST(Comparison, RunsDifferInTheirMembersFieldsAlone) {
  const Recipe recipe = recipe_of_run(
      base_recipe(), {.name = "a", .fields = {{"training.max_grad_norm", "2"}}}, 7, 0.5);
  EXPECT_EQ(recipe.training.max_grad_norm, 2);
  EXPECT_EQ(recipe.training.seed, 7);
  EXPECT_EQ(recipe.optimizer.learning_rate, 0.5);
  EXPECT_EQ(recipe.checkpoints.output_dir, "OUT/a/seed-7-rate-0.5");
  EXPECT_EQ(recipe.data.shard_dir, "OUT/shards");
  EXPECT_EQ(recipe_of_run(base_recipe(), {.name = "a", .fields = {}}, 7, 0).optimizer.learning_rate,
            base_recipe().optimizer.learning_rate);
  for (const char* field : {"data.train", "training.seed", "training.batch_size"}) {
    EXPECT_THAT(
        [&] {
          recipe_of_run(base_recipe(), {.name = "a", .fields = {{field, "1"}}}, 1, 0);
        },
        ThrowsMessage<ConfigError>(HasSubstr(field)));
  }
}

std::vector<float> row_of(const Parameter& parameter, std::int64_t row) {
  std::vector<float> values(static_cast<std::size_t>(parameter.columns()));
  parameter.read_row(row, values);
  return values;
}

// The study's members: every tensor of one name and shape begins with the same bytes.
TEST(Comparison, SharedTensorsBeginWithTheSameBytes) {
  for (const char* name : {"study-4-pairs.json", "study-8-pairs.json"}) {
    const auto document = nlohmann::ordered_json::parse(read_file(kRoot + "/recipes/" + name));
    const Comparison study = parse_comparison(document["compare"].dump(), name);
    ASSERT_EQ(study.members.size(), 4U);
    ASSERT_EQ(study.seeds.size(), 3U);
    std::vector<Parameters> starts;
    for (const ComparedMember& member : study.members) {
      const auto config = nlohmann::json::parse(member.fields[0].second).dump();
      starts.push_back(
          initial_parameters(ModelConfig::from_json(config, name, [](const std::string&) {}), 2));
    }
    for (const Parameters& other : starts) {
      std::size_t shared = 0;
      for (const auto& [tensor, parameter] : other) {
        const auto found = starts[0].find(tensor);
        if (found == starts[0].end() || found->second.shape != parameter.shape) continue;
        ++shared;
        for (const std::int64_t row : {std::int64_t{0}, parameter.rows() - 1}) {
          EXPECT_EQ(row_of(parameter, row), row_of(found->second, row)) << tensor;
        }
      }
      EXPECT_GE(shared, 50U);
    }
  }
}

TEST(ComparisonResult, IntervalsAreStudents) {
  const Interval three = confidence_interval({1, 2, 6});
  EXPECT_DOUBLE_EQ(three.mean, 3);
  EXPECT_NEAR(three.half_width, 4.303 * std::sqrt(7.0 / 3), 1e-12);
  EXPECT_TRUE(std::isnan(confidence_interval({1}).half_width));
  EXPECT_EQ(confidence_interval({2, 2, 2}).half_width, 0);
}

std::vector<ComparedRun> two_members() {
  std::vector<ComparedRun> runs;
  runs.reserve(4);
  const double losses[] = {3, 5, 2.5, 4.9};
  for (int i = 0; i < 4; ++i) {
    runs.push_back({.member = i < 2 ? "llama" : "diff",
                    .seed = 1 + i % 2,
                    .parameters = 10,
                    .learning_rate = 1e-3,
                    .curve = {{100, losses[i] + 1}, {200, losses[i]}},
                    .validated = true,
                    .final_loss = losses[i]});
  }
  return runs;
}

TEST(ComparisonResult, DifferencesAreOfTheSameSeeds) {
  const ComparisonResult result = compare_runs(two_members());
  ASSERT_EQ(result.members.size(), 2U);
  EXPECT_TRUE(result.validated);
  EXPECT_DOUBLE_EQ(result.members[1].final_loss.mean, 3.7);
  EXPECT_NEAR(result.members[1].difference.mean, -0.3, 1e-12);
  EXPECT_NEAR(result.members[1].difference.half_width, 12.706 * 0.2, 1e-9);  // of -0.5 and -0.1
  EXPECT_NEAR(result.members[1].difference_curve[0].mean, -0.3, 1e-12);
  EXPECT_THAT(to_markdown(result), HasSubstr("| diff | 10 | 0.001 | 3.7000 ± "));
  EXPECT_THAT(to_markdown(result), HasSubstr("minus llama"));
  const auto json = nlohmann::json::parse(to_json(result));
  EXPECT_EQ(json["final_loss_of"], "validation");
  EXPECT_EQ(json["members"][1]["final_losses"], (std::vector<double>{2.5, 4.9}));
  std::vector<ComparedRun> runs = two_members();
  runs[3].curve[1].tokens = 201;
  EXPECT_THAT([&] { compare_runs(runs); },
              ThrowsMessage<InvalidArgument>(HasSubstr("diff, seed 2")));
}

TEST(ComparisonResult, OneSeedHasNoInterval) {
  std::vector<ComparedRun> runs = two_members();
  std::erase_if(runs, [](const ComparedRun& run) { return run.seed != 1; });
  const ComparisonResult result = compare_runs(runs);
  EXPECT_THAT(to_markdown(result), HasSubstr("\nOne seed, so no confidence interval; 200 tokens"));
  EXPECT_THAT(to_markdown(result), Not(HasSubstr("±")));
  EXPECT_THAT(to_svg(result), Not(HasSubstr("interval")));
}

TEST(ComparisonResult, ThePlotHasALineForEachMember) {
  const std::string svg = to_svg(compare_runs(two_members()));
  EXPECT_THAT(svg, HasSubstr(">llama</text>"));
  EXPECT_THAT(svg, HasSubstr(">difference to llama, same seeds, 95 % interval</text>"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  std::size_t lines = 0;
  for (std::size_t at = 0; (at = svg.find("stroke-width=\"1.5\"", at)) != std::string::npos; ++at)
    ++lines;
  EXPECT_EQ(lines, 4U);
}

TEST(ComparisonResult, ARunIsReadFromItsMetrics) {
  const TestDirectory directory;
  directory.write("metrics.jsonl",
                  "{\"step\": 1, \"loss\": 5.0, \"tokens\": 10}\n"
                  "{\"step\": 2, \"loss\": 0.0, \"tokens\": 20, \"skipped\": true}\n"
                  "{\"step\": 3, \"loss\": 4.0, \"tokens\": 30}\n");
  const ComparedRun run = read_run(directory.path() / "metrics.jsonl");
  ASSERT_EQ(run.curve.size(), 2U);
  EXPECT_EQ(run.curve[1].tokens, 30);
  EXPECT_FALSE(run.validated);
  EXPECT_EQ(run.final_loss, 4.0);
  directory.write(
      "metrics.jsonl",
      "{\"step\": 1, \"loss\": 5.0, \"tokens\": 10}\n{\"step\": 1, \"eval_loss\": 3.5}\n");
  EXPECT_EQ(read_run(directory.path() / "metrics.jsonl").final_loss, 3.5);
}

}  // namespace
}  // namespace diffllama
