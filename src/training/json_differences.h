#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace diffllama {

/// A value in which two JSON documents differ, as messages show it.
struct JsonDifference {
  std::string name;           // the way to it: "training.seed", "model.labels.0"
  std::string value, before;  // excerpts, or "absent"
};

/// All of them, by name.
std::vector<JsonDifference> json_differences(const nlohmann::json& now,
                                             const nlohmann::json& before);

}  // namespace diffllama
