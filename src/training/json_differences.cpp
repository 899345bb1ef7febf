#include "training/json_differences.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/json.h"

namespace diffllama {

std::vector<JsonDifference> json_differences(const nlohmann::json& now,
                                             const nlohmann::json& before) {
  const nlohmann::json values = now.flatten();
  const nlohmann::json old_values = before.flatten();
  std::set<std::string> names;
  for (const auto& [name, value] : values.items()) names.insert(name);
  for (const auto& [name, value] : old_values.items()) names.insert(name);
  const auto text = [](const nlohmann::json& flat, const std::string& name) {
    return flat.contains(name) ? json_excerpt(flat[name]) : std::string("absent");
  };
  std::vector<JsonDifference> differences;
  for (const std::string& name : names) {
    JsonDifference difference{name.substr(1), text(values, name), text(old_values, name)};
    if (difference.value == difference.before) continue;
    std::ranges::replace(difference.name, '/', '.');
    differences.push_back(std::move(difference));
  }
  return differences;
}

}  // namespace diffllama
