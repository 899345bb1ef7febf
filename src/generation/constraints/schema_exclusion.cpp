#include "generation/constraints/schema_exclusion.h"

#include <algorithm>
#include <limits>
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

bool numbers_apart(const std::vector<const SchemaJson*>& a,
                   const std::vector<const SchemaJson*>& b) {
  NumberBounds both;
  for (const auto* schemas : {&a, &b}) {
    for (const SchemaJson* schema : *schemas) add_number_bounds(*schema, both);
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

// What the schemas ask of a property by its name.
std::vector<const SchemaJson*> property_schemas(const std::vector<const SchemaJson*>& schemas,
                                                const std::string& name) {
  std::vector<const SchemaJson*> found;
  for (const SchemaJson* schema : schemas) {
    const SchemaJson* properties = schema_keyword(*schema, "properties");
    const SchemaJson* own =
        properties == nullptr ? nullptr : schema_keyword(*properties, name.c_str());
    if (own == nullptr) own = schema_keyword(*schema, "additionalProperties");
    if (own != nullptr) found.push_back(own);
  }
  return found;
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

bool SchemaExclusion::objects_exclude(const Flat& a, const Flat& b) {
  // A property that both must look at, and cannot both like.
  std::set<std::string> names = required_names(a);
  names.merge(required_names(b));
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
  for (const Flat* flat : {&a, &b}) {
    for (const SchemaJson* schema : *flat) types &= schema_types(*schema);
  }
  if (types == 0 || lists_exclude(a, b) || lists_exclude(b, a)) return 0;
  if (numbers_apart(a, b)) types &= ~unsigned{kInteger | kNumber};
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

}  // namespace diffllama
