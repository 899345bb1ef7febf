#include "training/parameter_groups.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>

#include "base/text.h"
#include "config/json_fields.h"

namespace diffllama {
namespace {

using Patterns = std::vector<std::string>;

const std::map<std::string, Patterns>& groups() {
  static const std::map<std::string, Patterns> table = {
      {"lambda", {"*.self_attn.lambda_*", "*.self_attn.dex_lambda"}},
      {"dex", {"*.self_attn.dex_*"}},
      {"attention", {"*.self_attn.*"}},
      {"mlp", {"*.mlp.*"}},
      {"norms", {"*norm.weight", "*.subln.weight"}},
      {"embeddings", {"*embed_tokens.weight"}},
      {"head", {"lm_head.*", "score.*", "qa_outputs.*"}}};
  return table;
}

std::string group_names() {
  std::string names;
  for (const auto& [name, patterns] : groups()) names += name + ", ";
  return names;
}

}  // namespace

std::set<std::string> chosen_parameters(const std::vector<std::string>& names,
                                        const std::vector<std::string>& patterns,
                                        const std::string& field) {
  std::set<std::string> chosen;
  for (const std::string& pattern : patterns) {
    const auto group = groups().find(pattern);
    const Patterns globs = group == groups().end() ? Patterns{pattern} : group->second;
    bool found = false;
    for (const std::string& name : names) {
      const bool matches = std::ranges::any_of(globs, [&](const std::string& glob) {
        return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
      });
      if (matches) chosen.insert(name);
      found = found || matches;
    }
    if (!found) {
      reject_field("recipe", field,
                   "groups (" + group_names() + "or a glob) that choose parameters of the model, " +
                       "such as " + names.front(),
                   std::string("\"").append(shortened(pattern)).append("\", which chooses none"));
    }
  }
  return chosen;
}

std::set<std::string> trained_parameters(const std::vector<std::string>& names,
                                         const std::vector<std::string>& train_only,
                                         const std::vector<std::string>& freeze) {
  std::set<std::string> trained = train_only.empty()
                                      ? std::set<std::string>(names.begin(), names.end())
                                      : chosen_parameters(names, train_only, "training.train_only");
  for (const std::string& name : chosen_parameters(names, freeze, "training.freeze")) {
    trained.erase(name);
  }
  if (trained.empty()) {
    reject_field("recipe", "training.freeze", "a parameter that is left to train",
                 "none of " + std::to_string(names.size()));
  }
  return trained;
}

}  // namespace diffllama
