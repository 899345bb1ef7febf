#include "cli/recipe_options.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "cli/validators.h"
#include "diffllama/error.h"
#include "diffllama/training.h"

namespace diffllama::cli {
namespace {

// The text of a recipe's section "compare", which is taken out of it.
std::string take_comparison(const std::string& where, std::string& recipe) {
  nlohmann::ordered_json document = parse_ordered_json(recipe, where, {.members = 1000});
  if (!document.is_object() || !document.contains("compare")) {
    throw ConfigError(where +
                      ": compare: expected the members and seeds of a comparison, got none");
  }
  std::string compare = document["compare"].dump();
  document.erase("compare");
  recipe = document.dump();
  return compare;
}

}  // namespace

void add_recipe_options(CLI::App& command, RecipeOptions& options, const char* help) {
  add_path_option(command, "RECIPE", options.file, help);
  command
      .add_option_function<std::vector<std::string>>(
          "--set",
          [&options](const std::vector<std::string>& settings) {
            for (const std::string& setting : settings) {
              const auto equals = setting.find('=');
              options.fields.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
            }
          },
          "FIELD=VALUE sets a field of the recipe: --set optimizer.learning_rate=1e-3. May come "
          "several times")
      ->check([](const std::string& setting) {
        return setting.find('=') == std::string::npos ? "expected FIELD=VALUE, got " + setting
                                                      : std::string();
      })
      ->type_name("FIELD=VALUE")
      ->allow_extra_args(false);
  command.add_option_function<std::string>(
      "--skip-bad-rows",
      [&options](const std::string& rows) {
        options.fields.emplace_back("data.skip_bad_rows", rows);
      },
      "The recipe's data.skip_bad_rows: rows that cannot be read and are left out, at most");
}

std::string recipe_of(const RecipeOptions& options, std::string* compare) {
  const std::string where = options.file.empty() ? "recipe" : options.file;
  std::string recipe = options.file.empty() ? "{}" : read_file(options.file);
  if (compare != nullptr) *compare = take_comparison(where, recipe);
  recipe = complete_recipe(recipe, where);
  for (const auto& [name, value] : options.fields) {
    try {
      recipe = set_recipe_field(recipe, name, value);
    } catch (const Error& error) {
      throw CLI::ValidationError(error.what());  // the command line was wrong
    }
  }
  return recipe;
}

}  // namespace diffllama::cli
