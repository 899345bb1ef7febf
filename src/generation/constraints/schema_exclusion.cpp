#include "generation/constraints/schema_exclusion.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

namespace diffllama {
namespace {

constexpr std::size_t kMostWays = 64;
constexpr int kMostDepth = 16;

// The bounds that the schemas set together on one of the counts.
std::pair<std::int64_t, std::int64_t> count_bounds(const std::vector<const SchemaJson*>& schemas,
                                                   const char* least, const char* most) {
  std::pair<std::int64_t, std::int64_t> bounds = {0, std::numeric_limits<std::int64_t>::max()};
  for (const SchemaJson* schema : schemas) {
    bounds.first = std::max(bounds.first, schema_count(*schema, least, 0));
    bounds.second = std::min(bounds.second, schema_count(*schema, most, bounds.second));
  }
  return bounds;
}

bool apart(const std::pair<std::int64_t, std::int64_t>& a,
           const std::pair<std::int64_t, std::int64_t>& b) {
  return a.second < b.first || b.second < a.first;
}

bool numbers_apart(const SchemaDocument& document, const std::vector<const SchemaJson*>& a,
                   const std::vector<const SchemaJson*>& b) {
  NumberBounds both;
  for (const auto* schemas : {&a, &b}) {
    for (const SchemaJson* schema : *schemas) document.add_number_bounds(*schema, both);
  }
  if (!both.least || !both.most) return false;
  return *both.least > *both.most ||
         (*both.least == *both.most && (both.above_least || both.below_most));
}

std::set<std::string> required_names(const std::vector<const SchemaJson*>& schemas) {
  std::set<std::string> names;
  for (const SchemaJson* schema : schemas) {
    const SchemaJson* required = schema_keyword(*schema, "required");
    if (required == nullptr) continue;
    for (const SchemaJson& name : *required) names.insert(name.get<std::string>());
  }
  return names;
}

}  // namespace

std::vector<SchemaExclusion::Flat> SchemaExclusion::ways(const SchemaJson& schema) {
  std::vector<Flat> result = {{}};
  expand(schema, result, 0);
  return result;
}

void SchemaExclusion::expand(const SchemaJson& schema, std::vector<Flat>& ways, int depth) {
  if (schema.is_boolean()) {
    if (!schema.get<bool>()) ways.clear();
    return;
  }
  document_.check(schema);
  grammar_.step(1 + ways.size());
  if (depth > kMostDepth) return;  // what is left out makes a way hold more often
  for (Flat& way : ways) way.push_back(&schema);
  if (schema.contains("$ref")) expand(document_.target(schema), ways, depth + 1);
  if (const SchemaJson* all = schema_keyword(schema, "allOf")) {
    for (const SchemaJson& part : *all) expand(part, ways, depth + 1);
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const SchemaJson* branches = schema_keyword(schema, keyword);
    if (branches == nullptr || branches->size() * ways.size() > kMostWays) continue;
    std::vector<Flat> all;
    for (const SchemaJson& branch : *branches) {
      std::vector<Flat> with = ways;
      expand(branch, with, depth + 1);
      all.insert(all.end(), with.begin(), with.end());
    }
    if (all.size() <= kMostWays) ways = std::move(all);
  }
}

// All values that `lister` lists break `other`, or `lister` itself.
bool SchemaExclusion::lists_exclude(const Flat& lister, const Flat& other) {
  const auto holds = [&](const Flat& flat, const SchemaJson& value) {
    return std::ranges::all_of(
        flat, [&](const SchemaJson* schema) { return validator_.holds(*schema, value); });
  };
  for (const SchemaJson* schema : lister) {
    if (const SchemaJson* same = schema_keyword(*schema, "const")) return !holds(other, *same);
    if (const SchemaJson* list = schema_keyword(*schema, "enum")) {
      return std::ranges::none_of(*list, [&](const SchemaJson& value) {
        return holds(lister, value) && holds(other, value);
      });
    }
  }
  return false;
}

// What the schemas ask of a property by its name.
std::vector<const SchemaJson*> SchemaExclusion::property_schemas(const Flat& schemas,
                                                                 const std::string& name) {
  std::vector<const SchemaJson*> found;
  for (const SchemaJson* schema : schemas) {
    const SchemaJson* properties = schema_keyword(*schema, "properties");
    grammar_.step(1 + (properties == nullptr ? 0 : properties->size() / 64));
    const SchemaJson* own =
        properties == nullptr ? nullptr : schema_keyword(*properties, name.c_str());
    if (own == nullptr) own = schema_keyword(*schema, "additionalProperties");
    if (own != nullptr) found.push_back(own);
  }
  return found;
}

bool SchemaExclusion::objects_exclude(const Flat& a, const Flat& b) {
  // A property that both must look at, and cannot both like.
  std::set<std::string> names = required_names(a);
  names.merge(required_names(b));
  grammar_.step(names.size());
  for (const std::string& name : names) {
    for (const SchemaJson* x : property_schemas(a, name)) {
      if (*x == false) return true;
      for (const SchemaJson* y : property_schemas(b, name)) {
        if (*y == false || excludes(*x, *y)) return true;
      }
    }
    for (const SchemaJson* y : property_schemas(b, name)) {
      if (*y == false) return true;
    }
  }
  return false;
}

unsigned SchemaExclusion::common_types(const Flat& a, const Flat& b, unsigned types) {
  grammar_.step(4);
  for (const Flat* flat : {&a, &b}) {
    for (const SchemaJson* schema : *flat) types &= schema_types(*schema);
  }
  if (types == 0 || lists_exclude(a, b) || lists_exclude(b, a)) return 0;
  if (numbers_apart(document_, a, b)) types &= ~unsigned{kInteger | kNumber};
  if (apart(count_bounds(a, "minLength", "maxLength"), count_bounds(b, "minLength", "maxLength"))) {
    types &= ~unsigned{kString};
  }
  if (apart(count_bounds(a, "minItems", "maxItems"), count_bounds(b, "minItems", "maxItems"))) {
    types &= ~unsigned{kArray};
  }
  if ((types & kObject) != 0 && objects_exclude(a, b)) types &= ~unsigned{kObject};
  return types;
}

bool SchemaExclusion::excludes(const SchemaJson& a, const SchemaJson& b, unsigned types) {
  grammar_.step();
  if (depth_ >= kMostDepth) return false;
  const auto key = std::tuple(document_.id(a), document_.id(b), types);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  ++depth_;
  bool result = true;
  for (const Flat& x : ways(a)) {
    for (const Flat& y : ways(b)) result = result && common_types(x, y, types) == 0;
  }
  --depth_;
  return known_[key] = result;
}

std::optional<std::string> SchemaExclusion::missing_name(const SchemaJson& a, const SchemaJson& b,
                                                         unsigned types) {
  std::set<std::string> needed_by_a;
  std::optional<std::set<std::string>> candidates;
  for (const Flat& x : ways(a)) {
    needed_by_a.merge(required_names(x));
    for (const Flat& y : ways(b)) {
      const unsigned both = common_types(x, y, types);
      if (both == 0) continue;
      if (both != kObject) return std::nullopt;
      const std::set<std::string> names = required_names(y);
      grammar_.step(names.size());
      if (!candidates) {
        candidates = names;
      } else {
        std::erase_if(*candidates, [&](const std::string& name) { return !names.contains(name); });
      }
    }
  }
  if (!candidates) return std::nullopt;
  for (const std::string& name : *candidates) {
    if (!needed_by_a.contains(name)) return name;
  }
  return std::nullopt;
}

std::optional<SchemaExclusion::Keys> SchemaExclusion::listed(const Flat& way) const {
  for (const SchemaJson* schema : way) {
    if (const SchemaJson* same = schema_keyword(*schema, "const")) {
      return Keys{document_.value_key(*same)};
    }
    const SchemaJson* list = schema_keyword(*schema, "enum");
    if (list == nullptr) continue;
    grammar_.step(list->size());
    Keys keys;
    for (const SchemaJson& value : *list) keys.push_back(document_.value_key(value));
    return keys;
  }
  return std::nullopt;
}

std::optional<SchemaExclusion::Keys> SchemaExclusion::listed(const SchemaJson& schema) {
  Keys all;
  for (const Flat& way : ways(schema)) {
    const std::optional<Keys> keys = listed(way);
    if (!keys) return std::nullopt;
    all.insert(all.end(), keys->begin(), keys->end());
  }
  return all;
}

std::map<std::string, SchemaExclusion::Keys> SchemaExclusion::listed_properties(
    const SchemaJson& schema) {
  std::map<std::string, Keys> all;
  bool first = true;
  for (const Flat& way : ways(schema)) {
    std::map<std::string, Keys> here;
    for (const std::string& name : required_names(way)) {
      if (!first && !all.contains(name)) continue;
      for (const SchemaJson* property : property_schemas(way, name)) {
        const std::optional<Keys> keys = listed(*property);
        if (!keys) continue;
        Keys& found = here[name] = all[name];
        found.insert(found.end(), keys->begin(), keys->end());
        break;
      }
    }
    all = std::move(here);  // what every way lists
    first = false;
  }
  return all;
}

SchemaExclusion::Branches SchemaExclusion::sort(const SchemaJson& branches) {
  std::vector<std::map<std::string, Keys>> properties;
  std::map<std::string, std::size_t> uses;
  for (const SchemaJson& branch : branches) {
    properties.push_back(listed_properties(branch));
    for (const auto& [name, keys] : properties.back()) ++uses[name];
  }
  const auto most = std::ranges::max_element(uses, {}, [](const auto& use) { return use.second; });
  Branches sorted;
  for (std::size_t i = 0; i < branches.size(); ++i) {
    std::optional<Keys> keys = listed(branches[i]);
    int group = keys ? Branches::kValues : Branches::kOthers;
    if (!keys && most != uses.end() && properties[i].contains(most->first)) {
      group = Branches::kProperty;
      keys = std::move(properties[i][most->first]);
    }
    for (const int other : {Branches::kValues, Branches::kProperty}) {
      if (group != other) sorted.outside.at(other).push_back(i);
    }
    for (const std::string& key : keys.value_or(Keys())) {
      sorted.with_value.at(group)[key].push_back(i);
    }
    sorted.group.push_back(group);
    sorted.values.push_back(keys.value_or(Keys()));
  }
  return sorted;
}

std::vector<std::size_t> SchemaExclusion::rivals(const Branches& branches, std::size_t i,
                                                 unsigned types) {
  const int group = branches.group[i];
  std::vector<std::size_t> found;
  if (group == Branches::kValues || (group == Branches::kProperty && types == kObject)) {
    found = branches.outside.at(group);
    for (const std::string& value : branches.values[i]) {
      const std::vector<std::size_t>& same = branches.with_value.at(group).at(value);
      found.insert(found.end(), same.begin(), same.end());
    }
  } else {
    found.resize(branches.group.size());
    std::iota(found.begin(), found.end(), std::size_t{0});
  }
  std::erase(found, i);
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace diffllama
