#pragma once

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace diffllama::cli {

/// A recipe: a file, or none, and fields that the command line sets.
struct RecipeOptions {
  std::string file;
  std::vector<std::pair<std::string, std::string>> fields;  // in the order of the command line
};

/// RECIPE, of which `help` says what it is, --set and --skip-bad-rows.
void add_recipe_options(CLI::App& command, RecipeOptions& options, const char* help);

/// The whole recipe that they make. Throws IoError, FormatError, ConfigError, and
/// CLI::ValidationError for a field that --set may not set so. `compare`: takes the text of the
/// recipe's section of that name, which must be there; null: there is none.
std::string recipe_of(const RecipeOptions& options, std::string* compare = nullptr);

}  // namespace diffllama::cli
