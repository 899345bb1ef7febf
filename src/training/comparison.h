#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "diffllama/training.h"
#include "training/recipe.h"

namespace diffllama {

/// An architecture of a comparison: the fields of the recipe that it sets.
struct ComparedMember {
  std::string name;  // of its directory too
  std::vector<std::pair<std::string, std::string>> fields;
};

/// The section "compare" of a recipe.
struct Comparison {
  std::vector<ComparedMember> members;  // differences are to the first
  std::vector<std::int64_t> seeds;
  /// Tried by every member with the first seed; empty: the recipe's own.
  std::vector<double> learning_rates;
};

/// Throws FormatError, ConfigError "WHERE: compare.FIELD: expected ...".
Comparison parse_comparison(std::string_view json_text, const std::string& where);

/// The recipe of one run: the member's fields set, its seed, its rate unless that is 0, and a
/// directory of its own in checkpoints.output_dir, whose shards all runs share. Throws ConfigError.
Recipe recipe_of_run(const Recipe& base, const ComparedMember& member, std::int64_t seed,
                     double learning_rate);

/// compare_training() of what was read.
ComparisonEnd run_comparison(const Recipe& recipe, const Comparison& comparison,
                             const TrainingOptions& options);

}  // namespace diffllama
