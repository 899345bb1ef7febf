#include "training/comparison.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/regular_file.h"
#include "config/json_fields.h"
#include "diffllama/error.h"
#include "training/comparison_plot.h"
#include "training/comparison_result.h"
#include "training/session.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

bool is_name(const std::string& name) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.front() != '.' &&
         name.find_first_not_of(kLetters) == std::string::npos;
}

std::vector<ComparedMember> parse_members(const ordered_json& members, const std::string& where) {
  if (!members.is_object() || members.size() < 2) {
    reject_field(where, "compare.members", "an object of at least two members",
                 json_excerpt(json::parse(members.dump())));
  }
  std::vector<ComparedMember> result;
  for (const auto& [name, fields] : members.items()) {
    if (!is_name(name)) {
      reject_field(where, "compare.members", "names of letters, digits, '.', '_' and '-'", name);
    }
    if (!fields.is_object()) {
      reject_field(where, "compare.members." + name, "an object of fields and their values",
                   json_excerpt(json::parse(fields.dump())));
    }
    ComparedMember& member = result.emplace_back();
    member.name = name;
    for (const auto& [field, value] : fields.items()) {
      member.fields.emplace_back(field, value.dump());
    }
  }
  return result;
}

template <class T>
std::vector<T> parse_list(const ordered_json& list, const std::string& where,
                          const std::string& field, bool (ordered_json::*is)() const noexcept) {
  std::vector<T> values;
  bool fits = list.is_array();
  for (const ordered_json& item : list) {
    fits = fits && (item.*is)() && item.get<T>() >= 0;
    if (fits) values.push_back(item.get<T>());
  }
  if (!fits) {
    reject_field(where, field, "a list of numbers of at least 0",
                 json_excerpt(json::parse(list.dump())));
  }
  return values;
}

// Runs of a comparison, which go on where an earlier call was stopped.
class Runner {
 public:
  Runner(const Recipe& recipe, const Comparison& comparison, const TrainingOptions& options)
      : recipe_(recipe), comparison_(comparison), options_(options) {
    options_.resume = true;
    options_.on_start = [this, outer = options.on_start](const TrainingFacts& facts) {
      facts_ = facts;
      if (outer) outer(facts);
    };
    const auto members = static_cast<std::int64_t>(comparison.members.size());
    const auto rates = static_cast<std::int64_t>(comparison.learning_rates.size());
    all_ = members * (std::ssize(comparison.seeds) + std::max<std::int64_t>(rates - 1, 0));
  }

  /// Nothing where it was asked to stop.
  std::optional<std::vector<ComparedRun>> run() {
    std::vector<ComparedRun> runs;
    for (const ComparedMember& member : comparison_.members) {
      const std::optional<double> rate = best_rate(member);
      if (!rate) return std::nullopt;
      for (const std::int64_t seed : comparison_.seeds) {
        std::optional<ComparedRun> done = train(member, seed, *rate);
        if (!done) return std::nullopt;
        runs.push_back(std::move(*done));
      }
    }
    return runs;
  }

 private:
  // That with the smallest loss at the end, of the first seed.
  std::optional<double> best_rate(const ComparedMember& member) {
    const std::vector<double>& rates = comparison_.learning_rates;
    if (rates.size() < 2) return rates.empty() ? 0 : rates[0];
    double best = rates[0];
    double least = INFINITY;
    for (const double rate : rates) {
      const std::optional<ComparedRun> done = train(member, comparison_.seeds[0], rate);
      if (!done) return std::nullopt;
      if (done->final_loss < least) {
        least = done->final_loss;
        best = rate;
      }
    }
    return best;
  }

  std::optional<ComparedRun> train(const ComparedMember& member, std::int64_t seed, double rate) {
    const Recipe recipe = recipe_of_run(recipe_, member, seed, rate);
    const fs::path directory = recipe.checkpoints.output_dir;
    if (options_.notice && started_.insert(directory).second) {
      options_.notice(member.name + ", seed " + std::to_string(seed) + ", learning rate " +
                      number_text(recipe.optimizer.learning_rate) + ": run " +
                      std::to_string(started_.size()) + " of " + std::to_string(all_));
    }
    if (!run_training(recipe, options_).finished) return std::nullopt;
    ComparedRun done = read_run(directory / "metrics.jsonl");
    done.member = member.name;
    done.seed = seed;
    done.learning_rate = recipe.optimizer.learning_rate;
    done.parameters = facts_.parameters;
    return done;
  }

  const Recipe& recipe_;
  const Comparison& comparison_;
  TrainingOptions options_;
  TrainingFacts facts_;
  std::int64_t all_ = 0;
  std::set<fs::path> started_;
};

}  // namespace

Comparison parse_comparison(std::string_view json_text, const std::string& where) {
  constexpr std::size_t kMostMembers = 1000;
  const ordered_json document = parse_ordered_json(json_text, where, {.members = kMostMembers});
  if (!document.is_object()) throw FormatError(where + ": compare: expected an object");
  Comparison comparison;
  for (const auto& [name, value] : document.items()) {
    if (name == "members") {
      comparison.members = parse_members(value, where);
    } else if (name == "seeds") {
      comparison.seeds =
          parse_list<std::int64_t>(value, where, "compare.seeds", &ordered_json::is_number_integer);
    } else if (name == "learning_rates") {
      comparison.learning_rates =
          parse_list<double>(value, where, "compare.learning_rates", &ordered_json::is_number);
    } else {
      reject_field(where, "compare", "members, seeds and learning_rates", name);
    }
  }
  if (comparison.members.empty()) {
    reject_field(where, "compare.members", "an object of at least two members", "none");
  }
  if (comparison.seeds.empty()) {
    reject_field(where, "compare.seeds", "at least one seed", "none");
  }
  std::vector<std::int64_t> sorted = comparison.seeds;
  std::ranges::sort(sorted);
  if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end()) {
    reject_field(where, "compare.seeds", "each seed once", std::to_string(*twice) + " twice");
  }
  return comparison;
}

Recipe recipe_of_run(const Recipe& base, const ComparedMember& member, std::int64_t seed,
                     double learning_rate) {
  Recipe recipe = base;
  const std::string where = "compare.members." + member.name;
  for (const auto& [field, value] : member.fields) {
    if (field.starts_with("checkpoints.") || field.starts_with("data.") ||
        field == "training.seed" || field == "training.batch_size" ||
        field == "training.gradient_accumulation_steps" || field == "training.max_steps") {
      reject_field(where, field, "fields that leave batches and directories as they are for all",
                   value);
    }
    set_recipe_field(recipe, field, value);
  }
  recipe.training.seed = seed;
  if (learning_rate != 0) recipe.optimizer.learning_rate = learning_rate;
  const fs::path directory = base.checkpoints.output_dir;
  if (recipe.data.shard_dir.empty()) recipe.data.shard_dir = directory / "shards";
  recipe.checkpoints.output_dir =
      directory / member.name /
      ("seed-" + std::to_string(seed) + "-rate-" + number_text(recipe.optimizer.learning_rate));
  validate(recipe, where);
  return recipe;
}

ComparisonEnd run_comparison(const Recipe& recipe, const Comparison& comparison,
                             const TrainingOptions& options) {
  const fs::path directory = recipe.checkpoints.output_dir;
  if (directory.empty()) {
    reject_field("recipe", "checkpoints.output_dir", "a directory", "none");
  }
  for (const ComparedMember& member : comparison.members) {  // before any of them runs
    recipe_of_run(recipe, member, comparison.seeds[0], 0);
  }
  const auto runs = Runner(recipe, comparison, options).run();
  if (!runs) return {};
  const ComparisonResult result = compare_runs(*runs);
  ComparisonEnd end{.finished = true, .table = directory / "compare.md"};
  write_file_atomically(end.table, to_markdown(result));
  write_file_atomically(directory / "compare.json", to_json(result));
  write_file_atomically(directory / "compare.svg", to_svg(result));
  return end;
}

}  // namespace diffllama
