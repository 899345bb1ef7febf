#include "training/comparison_result.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kCurvePoints = 100;

// The mean of each of at most kCurvePoints parts of the steps.
std::vector<LossPoint> parts_of(const std::vector<LossPoint>& steps) {
  std::vector<LossPoint> curve;
  const std::size_t parts = std::min(kCurvePoints, steps.size());
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t first = part * steps.size() / parts;
    const std::size_t end = (part + 1) * steps.size() / parts;
    double sum = 0;
    for (std::size_t i = first; i < end; ++i) sum += steps[i].loss;
    curve.push_back({steps[end - 1].tokens, sum / static_cast<double>(end - first)});
  }
  return curve;
}

double mean_of_last_tenth(const std::vector<LossPoint>& steps) {
  const std::size_t count = (steps.size() + 9) / 10;
  double sum = 0;
  for (std::size_t i = steps.size() - count; i < steps.size(); ++i) sum += steps[i].loss;
  return sum / static_cast<double>(count);
}

std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string with_width(const Interval& interval) {
  const std::string mean = fixed(interval.mean, 4);
  return std::isnan(interval.half_width) ? mean : mean + " ± " + fixed(interval.half_width, 4);
}

ordered_json to_json(const Interval& interval) {
  ordered_json both = {{"mean", interval.mean}, {"half_width", nullptr}};
  if (!std::isnan(interval.half_width)) both["half_width"] = interval.half_width;
  return both;
}

ordered_json to_json(const std::vector<Interval>& curve) {
  ordered_json list = ordered_json::array();
  for (const Interval& interval : curve) list.push_back(to_json(interval));
  return list;
}

// One member's runs, seed by seed beside those of the first member.
ComparedMemberResult compare_member(const std::vector<ComparedRun>& runs,
                                    const std::vector<ComparedRun>& first) {
  ComparedMemberResult result;
  result.name = runs[0].member;
  result.parameters = runs[0].parameters;
  result.learning_rate = runs[0].learning_rate;
  std::vector<double> differences;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    result.seeds.push_back(runs[i].seed);
    result.final_losses.push_back(runs[i].final_loss);
    differences.push_back(runs[i].final_loss - first[i].final_loss);
  }
  result.final_loss = confidence_interval(result.final_losses);
  result.difference = confidence_interval(differences);
  for (std::size_t point = 0; point < runs[0].curve.size(); ++point) {
    std::vector<double> losses, apart;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      losses.push_back(runs[i].curve[point].loss);
      apart.push_back(runs[i].curve[point].loss - first[i].curve[point].loss);
    }
    result.tokens.push_back(runs[0].curve[point].tokens);
    result.curve.push_back(confidence_interval(losses));
    result.difference_curve.push_back(confidence_interval(apart));
  }
  return result;
}

bool same_tokens(const ComparedRun& a, const ComparedRun& b) {
  return std::ranges::equal(a.curve, b.curve, {}, &LossPoint::tokens, &LossPoint::tokens);
}

}  // namespace

ComparedRun read_run(const std::filesystem::path& metrics) {
  const std::string text = read_file(metrics);
  ComparedRun run;
  std::vector<LossPoint> steps;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const json line = parse_json(rest.substr(0, end), metrics.string());
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.contains("eval_loss")) {
      run.validated = true;
      run.final_loss = line["eval_loss"].get<double>();
    } else if (line.contains("tokens") && !line.value("skipped", false)) {
      steps.push_back({line["tokens"].get<std::int64_t>(), line["loss"].get<double>()});
    }
  }
  if (steps.empty()) {
    throw InvalidArgument(metrics.string() + ": expected at least one step, got none");
  }
  run.curve = parts_of(steps);
  if (!run.validated) run.final_loss = mean_of_last_tenth(steps);
  return run;
}

Interval confidence_interval(const std::vector<double>& values) {
  // Student's t, 97.5 %, by degrees of freedom from 1.
  constexpr std::array kQuantiles = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                     2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                     2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                     2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
  const auto n = static_cast<double>(values.size());
  Interval interval;
  for (const double value : values) interval.mean += value / n;
  if (values.size() < 2) {
    return {interval.mean, std::numeric_limits<double>::quiet_NaN()};
  }
  double squares = 0;
  for (const double value : values) squares += (value - interval.mean) * (value - interval.mean);
  const std::size_t freedom = values.size() - 1;
  const double quantile = freedom <= kQuantiles.size() ? kQuantiles.at(freedom - 1) : 1.96;
  interval.half_width = quantile * std::sqrt(squares / (n - 1) / n);
  return interval;
}

ComparisonResult compare_runs(const std::vector<ComparedRun>& runs) {
  std::vector<std::vector<ComparedRun>> by_member;
  for (const ComparedRun& run : runs) {
    if (by_member.empty() || by_member.back()[0].member != run.member) by_member.emplace_back();
    by_member.back().push_back(run);
  }
  ComparisonResult result;
  result.validated = true;
  for (const std::vector<ComparedRun>& member : by_member) {
    for (std::size_t i = 0; i < member.size(); ++i) {
      result.validated = result.validated && member[i].validated;
      const std::vector<ComparedRun>& first = by_member[0];
      if (i < first.size() && member[i].seed == first[i].seed && same_tokens(member[i], first[i]) &&
          same_tokens(member[i], member[0])) {
        continue;
      }
      throw InvalidArgument("expected runs over the same tokens, got others of " +
                            member[i].member + ", seed " + std::to_string(member[i].seed));
    }
    result.members.push_back(compare_member(member, by_member[0]));
  }
  return result;
}

std::string to_markdown(const ComparisonResult& result) {
  const std::string first = result.members[0].name;
  std::ostringstream text;
  text << "| | parameters | learning rate | " << (result.validated ? "validation" : "training")
       << " loss at the end | minus " << first
       << ", same seeds |\n| --- | --- | --- | --- | --- |\n";
  for (const ComparedMemberResult& member : result.members) {
    text << "| " << member.name << " | " << member.parameters << " | " << member.learning_rate
         << " | " << with_width(member.final_loss) << " | "
         << (member.name == first ? "-" : with_width(member.difference)) << " |\n";
  }
  const std::size_t seeds = result.members[0].seeds.size();
  if (seeds == 1) {
    text << "\nOne seed, so no confidence interval; ";
  } else {
    text << "\nMeans over " << seeds
         << " seeds, ± half of the 95 % confidence interval (Student's t); ";
  }
  text << result.members[0].tokens.back() << " tokens a run.\n";
  return text.str();
}

std::string to_json(const ComparisonResult& result) {
  ordered_json members = ordered_json::array();
  for (const ComparedMemberResult& member : result.members) {
    members.push_back({{"name", member.name},
                       {"parameters", member.parameters},
                       {"learning_rate", member.learning_rate},
                       {"seeds", member.seeds},
                       {"final_losses", member.final_losses},
                       {"final_loss", to_json(member.final_loss)},
                       {"difference", to_json(member.difference)},
                       {"tokens", member.tokens},
                       {"curve", to_json(member.curve)},
                       {"difference_curve", to_json(member.difference_curve)}});
  }
  const ordered_json document = {{"final_loss_of", result.validated ? "validation" : "training"},
                                 {"members", std::move(members)}};
  return document.dump(1) + "\n";
}

}  // namespace diffllama
