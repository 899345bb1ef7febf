#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "training/recipe.h"

namespace diffllama {

/// How one field of a recipe is read, written and told about.
struct RecipeFieldAccess {
  std::string section, name;
  std::string help;
  bool takes_text = false;  // a value on a command line may be text without quotes
  /// Throws ConfigError that starts with `where`, naming the field.
  std::function<void(Recipe&, const nlohmann::json& value, const std::string& where)> read;
  std::function<nlohmann::json(Recipe&)> write;

  std::string full_name() const { return section + "." + name; }
};

/// All of them, in the order in which they are printed: the one table of the recipe.
const std::vector<RecipeFieldAccess>& recipe_field_table();

}  // namespace diffllama
