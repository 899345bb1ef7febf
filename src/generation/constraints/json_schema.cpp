#include "generation/constraints/json_schema.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "diffllama/error.h"
#include "generation/constraints/json_string.h"
#include "generation/constraints/json_text.h"
#include "generation/constraints/regex.h"
#include "generation/constraints/schema.h"
#include "generation/constraints/schema_exclusion.h"
#include "generation/constraints/schema_literals.h"
#include "generation/constraints/schema_validator.h"

namespace diffllama {
namespace {

using Expression = Grammar::Expression;
using Id = SchemaDocument::Id;

template <class T>
void insert_sorted(std::vector<T>& values, T value) {
  const auto place = std::ranges::lower_bound(values, value);
  if (place == values.end() || *place != value) values.insert(place, std::move(value));
}

class Compiler {
 public:
  Compiler(Grammar& grammar, std::string_view text)
      : grammar_(grammar),
        document_(text, grammar.where()),
        validator_(document_, grammar),
        exclusion_(document_, validator_, grammar),
        literals_(grammar, document_, validator_) {}

  Grammar::Rule compile() {
    Conjunction whole;
    add(whole, document_.root());
    const Grammar::Rule rule = grammar_.add_rule("schema");
    grammar_.define(rule, value(std::move(whole)));
    return rule;
  }

 private:
  // Adds a schema, following $ref and allOf.
  void add(Conjunction& conjunction, const SchemaJson& schema) {
    grammar_.step();
    if (schema.is_boolean()) {
      conjunction.never = conjunction.never || !schema.get<bool>();
      return;
    }
    document_.check(schema);
    const Id id = document_.id(schema);
    if (!open_.insert(id).second) {
      document_.fail(schema, "", "a schema that does not refer to itself without end");
    }
    if (schema.contains("$ref")) add(conjunction, document_.target(schema));
    if (const SchemaJson* all = schema_keyword(schema, "allOf")) {
      for (const SchemaJson& part : *all) add(conjunction, part);
    }
    for (const bool one : {false, true}) {
      const SchemaJson* branches = schema_keyword(schema, one ? "oneOf" : "anyOf");
      if (branches == nullptr) continue;
      if (one) group_owner_[document_.id(*branches)] = &schema;
      insert_sorted(conjunction.groups, std::pair(document_.id(*branches), one));
    }
    constexpr const char* kOwn[] = {"type",
                                    "enum",
                                    "const",
                                    "properties",
                                    "required",
                                    "additionalProperties",
                                    "prefixItems",
                                    "items",
                                    "minItems",
                                    "maxItems",
                                    "minLength",
                                    "maxLength",
                                    "pattern",
                                    "format",
                                    "minimum",
                                    "maximum",
                                    "exclusiveMinimum",
                                    "exclusiveMaximum"};
    grammar_.step(conjunction.parts.size() / 16);
    if (std::ranges::any_of(kOwn, [&](const char* name) { return schema.contains(name); }) &&
        std::ranges::find(conjunction.parts, id) == conjunction.parts.end()) {
      conjunction.parts.push_back(id);  // in this order: properties come as the schema has them
    }
    open_.erase(id);
  }

  // A rule for all schemas of a conjunction, the same whenever they are the same.
  Expression value(Conjunction conjunction) {
    if (conjunction.never) return grammar_.alternatives({});
    const auto [entry, added] = rules_.try_emplace(std::move(conjunction), 0);
    if (added) {
      const Conjunction& whole = entry->first;
      const std::string name =
          whole.parts.empty() ? "any value" : document_.path(whole.parts.front());
      entry->second = grammar_.add_rule(name);
      if (++depth_ > kMostDepth) {
        throw InvalidArgument(grammar_.where() + ": " + name +
                              ": expected schemas nested at most " + std::to_string(kMostDepth) +
                              " deep, got more");
      }
      grammar_.define(entry->second, choices(whole));
      --depth_;
    }
    return grammar_.reference(entry->second);
  }
  Expression value(const std::vector<const SchemaJson*>& schemas) {
    Conjunction conjunction;
    for (const SchemaJson* schema : schemas) add(conjunction, *schema);
    return value(std::move(conjunction));
  }

  Expression choices(const Conjunction& whole) {
    SchemaLiterals::Gathered gathered;
    if (const SchemaJson* values = literals_.lister(whole)) {
      literals_.gather(whole, *values, gathered);
      return literals_.any_of(std::move(gathered));
    }
    if (whole.groups.empty()) return of_types(whole);
    Conjunction rest = whole;
    const auto [list, one] = rest.groups.front();
    rest.groups.erase(rest.groups.begin());
    const SchemaJson& branches = document_.value(list);
    for (std::size_t i = 0; i < branches.size(); ++i) {
      grammar_.step(1 + (rest.parts.size() + rest.groups.size() + rest.absent.size()) / 8);
      Conjunction branch = rest;
      add(branch, branches[i]);
      if (branch.never) continue;
      if (one) exclude_others(list, i, branch);
      if (const SchemaJson* values = literals_.lister(branch)) {
        literals_.gather(branch, *values, gathered);  // of all branches together: there may be many
      } else {
        gathered.others.push_back(value(std::move(branch)));
      }
    }
    return literals_.any_of(std::move(gathered));
  }

  // Makes what the i-th branch gives break all the others.
  void exclude_others(Id list, std::size_t i, Conjunction& branch) {
    const SchemaJson& branches = document_.value(list);
    const auto [sorted, added] = sorted_.try_emplace(list);
    if (added) sorted->second = exclusion_.sort(branches);
    unsigned types = kAnyType;
    for (const Id id : branch.parts) types &= schema_types(document_.value(id));
    for (const std::size_t j : SchemaExclusion::rivals(sorted->second, i, types)) {
      if (exclusion_.excludes(branches[i], branches[j], types)) continue;
      const auto name = exclusion_.missing_name(branches[i], branches[j], types);
      if (!name) {
        document_.fail(*group_owner_.at(list), "oneOf",
                       "branches that exclude each other (by type, const, enum, bounds or a "
                       "required property), not " +
                           std::to_string(i) + " and " + std::to_string(j));
      }
      insert_sorted(branch.absent, *name);
    }
  }

  Expression of_types(const Conjunction& whole) {
    unsigned types = kAnyType;
    for (const Id id : whole.parts) {
      const SchemaJson& schema = document_.value(id);
      types &= schema_types(schema);
      const SchemaJson* format = schema_keyword(schema, "format");
      if (format != nullptr && !format_regex(format->get<std::string>())) {
        document_.fail(schema, "format", kFormats);
      }
    }
    if (whole.parts.empty() && whole.absent.empty()) return grammar_.reference(any_value());
    std::vector<Expression> results;
    if ((types & kNull) != 0) results.push_back(grammar_.text("null"));
    if ((types & kBoolean) != 0) {
      results.push_back(grammar_.text("true"));
      results.push_back(grammar_.text("false"));
    }
    if ((types & (kInteger | kNumber)) != 0) results.push_back(number(whole, types));
    if ((types & kString) != 0) results.push_back(string(whole));
    if ((types & kArray) != 0) results.push_back(array(whole));
    if ((types & kObject) != 0) results.push_back(object(whole));
    return grammar_.alternatives(std::move(results));
  }
  Grammar::Rule any_value() {
    if (!any_value_) any_value_ = json_value(grammar_);
    return *any_value_;
  }

  Expression number(const Conjunction& whole, unsigned types) {
    NumberBounds bounds;
    bounds.integer = (types & kNumber) == 0;
    for (const Id id : whole.parts) {
      const SchemaJson& schema = document_.value(id);
      document_.add_number_bounds(schema, bounds);
      for (const char* keyword : {"minimum", "exclusiveMinimum"}) {
        const SchemaJson* least = schema_keyword(schema, keyword);
        if (least != nullptr && least->get<double>() >= kLargest) {
          document_.fail(schema, keyword, "a bound below 1e15");
        }
      }
      for (const char* keyword : {"maximum", "exclusiveMaximum"}) {
        const SchemaJson* most = schema_keyword(schema, keyword);
        if (most != nullptr && most->get<double>() <= -kLargest) {
          document_.fail(schema, keyword, "a bound above -1e15");
        }
      }
    }
    return json_number(grammar_, bounds);
  }

  Expression string(const Conjunction& whole) {
    StringBounds bounds;
    for (const Id id : whole.parts) {
      const SchemaJson& schema = document_.value(id);
      bounds.least = std::max(bounds.least, schema_count(schema, "minLength", 0));
      const std::int64_t most = schema_count(schema, "maxLength", Grammar::kUnbounded);
      if (most != Grammar::kUnbounded) {
        bounds.most = bounds.most == Grammar::kUnbounded ? most : std::min(bounds.most, most);
      }
      if (const SchemaJson* pattern = schema_keyword(schema, "pattern")) {
        try {
          bounds.texts.push_back(parse_regex(grammar_, pattern->get<std::string>(), true));
        } catch (const InvalidArgument& error) {
          document_.fail(schema, "pattern",
                         std::string("a pattern that can be read (") + error.what() + ")");
        }
      }
      if (const SchemaJson* format = schema_keyword(schema, "format")) {
        const auto regex = format_regex(format->get<std::string>());
        bounds.texts.push_back(parse_regex(grammar_, regex.value(), false));
      }
    }
    if (bounds.most != Grammar::kUnbounded && bounds.least > bounds.most) {
      return grammar_.alternatives({});
    }
    return json_string_within(grammar_, bounds);
  }

  // The schemas of an array's item: those of its place, or of the rest.
  std::vector<const SchemaJson*> item_schemas(const Conjunction& whole, std::size_t place) {
    std::vector<const SchemaJson*> schemas;
    for (const Id id : whole.parts) {
      const SchemaJson* prefix = schema_keyword(document_.value(id), "prefixItems");
      const SchemaJson* rest = schema_keyword(document_.value(id), "items");
      const SchemaJson* item =
          prefix != nullptr && place < prefix->size() ? &(*prefix)[place] : rest;
      if (item != nullptr) schemas.push_back(item);
    }
    return schemas;
  }

  Expression array(const Conjunction& whole) {
    std::int64_t least = 0, most = Grammar::kUnbounded;
    std::size_t places = 0;
    bool has_rest = false;
    for (const Id id : whole.parts) {
      const SchemaJson& schema = document_.value(id);
      least = std::max(least, schema_count(schema, "minItems", 0));
      const std::int64_t bound = schema_count(schema, "maxItems", Grammar::kUnbounded);
      if (bound != Grammar::kUnbounded) {
        most = most == Grammar::kUnbounded ? bound : std::min(most, bound);
      }
      if (const SchemaJson* prefix = schema_keyword(schema, "prefixItems")) {
        places = std::max(places, prefix->size());
      }
      has_rest = has_rest || schema.contains("items");
    }
    const auto count = static_cast<std::int64_t>(places);
    // After a tuple nothing comes unless the schema speaks of it.
    if (places > 0 && !has_rest) {
      const std::int64_t last = std::max(least, count);
      most = most == Grammar::kUnbounded ? last : std::min(most, last);
    }
    if (most != Grammar::kUnbounded && least > most) return grammar_.alternatives({});
    if (most == 0) return grammar_.text("[]");

    const Expression comma = json_comma(grammar_);
    const auto item = [&](std::size_t place) {
      const Expression here = value(item_schemas(whole, place));
      return place == 0 ? here : grammar_.sequence({comma, here});
    };
    // What follows when `place` items are there, from the last place to the first.
    const auto left = [&](std::int64_t there) {
      return most == Grammar::kUnbounded ? most : std::max<std::int64_t>(0, most - there);
    };
    const std::int64_t first_rest = std::max<std::int64_t>(count, 1);
    Expression tail = grammar_.text("");
    if (left(first_rest) != 0) {
      const Expression rest = value(item_schemas(whole, places));
      tail = grammar_.repeat(grammar_.sequence({comma, rest}),
                             std::max<std::int64_t>(0, least - first_rest), left(first_rest));
    }
    for (std::int64_t place = first_rest; place-- > 0;) {
      if (left(place) == 0) continue;
      tail = grammar_.sequence({item(static_cast<std::size_t>(place)), tail});
      tail = shared(place >= least ? grammar_.optional(tail) : tail);
    }
    return grammar_.sequence({grammar_.text("["), tail, grammar_.text("]")});
  }

  struct Property {
    std::string name;
    bool required = false;
    std::vector<const SchemaJson*> schemas = {};
  };

  std::vector<Property> properties(const Conjunction& whole) {
    std::vector<Property> found;
    std::map<std::string, std::size_t> places;
    const auto place = [&](const std::string& name) -> Property& {
      const auto [entry, added] = places.try_emplace(name, found.size());
      if (added) found.push_back({.name = name});
      return found[entry->second];
    };
    for (const Id id : whole.parts) {
      if (const SchemaJson* own = schema_keyword(document_.value(id), "properties")) {
        for (const auto& [name, schema] : own->items()) place(name);
      }
    }
    for (const Id id : whole.parts) {
      if (const SchemaJson* names = schema_keyword(document_.value(id), "required")) {
        for (const SchemaJson& name : *names) place(name.get<std::string>()).required = true;
      }
    }
    for (const Id id : whole.parts) {
      const SchemaJson* own = schema_keyword(document_.value(id), "properties");
      const SchemaJson* others = schema_keyword(document_.value(id), "additionalProperties");
      std::set<std::string> named;
      if (own != nullptr) {
        for (const auto& [name, schema] : own->items()) {
          place(name).schemas.push_back(&schema);
          named.insert(name);
        }
      }
      if (others == nullptr) continue;
      for (Property& property : found) {
        grammar_.step();
        if (!named.contains(property.name)) property.schemas.push_back(others);
      }
    }
    return found;
  }

  // Members beside the named ones: a name and a value, or nothing.
  std::optional<Expression> other_member(const Conjunction& whole,
                                         const std::vector<Property>& named) {
    bool has_properties = false, has_others = false;
    std::vector<const SchemaJson*> schemas;
    for (const Id id : whole.parts) {
      has_properties = has_properties || document_.value(id).contains("properties");
      if (const SchemaJson* others = schema_keyword(document_.value(id), "additionalProperties")) {
        has_others = true;
        if (*others == false) return std::nullopt;
        schemas.push_back(others);
      }
    }
    if (has_properties && !has_others) return std::nullopt;
    std::vector<std::string> taken = whole.absent;
    for (const Property& property : named) taken.push_back(property.name);
    const Expression name = taken.empty() ? json_string_of_length(grammar_, 0, Grammar::kUnbounded)
                                          : json_string_but(grammar_, taken);
    return grammar_.sequence({name, json_colon(grammar_), value(schemas)});
  }

  Expression object(const Conjunction& whole) {
    std::vector<Property> named = properties(whole);
    const auto absent = [&](const Property& property) {
      return std::ranges::binary_search(whole.absent, property.name) ||
             std::ranges::any_of(property.schemas,
                                 [](const SchemaJson* schema) { return *schema == false; });
    };
    const std::optional<Expression> other = other_member(whole, named);
    for (const Property& property : named) {
      if (property.required && absent(property)) return grammar_.alternatives({});
    }
    std::erase_if(named, absent);

    const Expression comma = json_comma(grammar_);
    const Expression nothing = grammar_.text("");
    // What may follow once a member is there (`after`), and before one is (`start`), from the last
    // property to the first.
    Expression after = nothing, start = nothing;
    if (other) {
      after = grammar_.repeat(grammar_.sequence({comma, *other}), 0, Grammar::kUnbounded);
      start = grammar_.optional(grammar_.sequence({*other, after}));
    }
    for (std::size_t i = named.size(); i-- > 0;) {
      const Property& property = named[i];
      const Expression member = grammar_.sequence({grammar_.text(json_string(property.name)),
                                                   json_colon(grammar_), value(property.schemas)});
      const Expression first = grammar_.sequence({member, after});
      const Expression next = grammar_.sequence({comma, first});
      start = shared(property.required ? first : grammar_.alternatives({first, start}));
      after = shared(property.required ? next : grammar_.alternatives({next, after}));
    }
    return grammar_.sequence({grammar_.text("{"), start, grammar_.text("}")});
  }
  // A rule of its own, so that an expression used twice is not made twice, and a long chain is no
  // deep one.
  Expression shared(Expression expression) {
    const Grammar::Rule rule = grammar_.add_rule("the rest");
    grammar_.define(rule, expression);
    return grammar_.reference(rule);
  }

  static constexpr int kMostDepth = 400;
  static constexpr double kLargest = 1e15;  // numbers have 15 digits before the point
  Grammar& grammar_;
  SchemaDocument document_;
  SchemaValidator validator_;
  SchemaExclusion exclusion_;
  SchemaLiterals literals_;
  std::set<Id> open_;  // schemas that are being added
  std::map<Id, const SchemaJson*> group_owner_;
  std::map<Id, SchemaExclusion::Branches> sorted_;  // of each oneOf
  std::map<Conjunction, Grammar::Rule> rules_;
  std::optional<Grammar::Rule> any_value_;
  int depth_ = 0;
};

}  // namespace

Grammar::Rule parse_json_schema(Grammar& grammar, std::string_view schema) {
  return Compiler(grammar, schema).compile();
}

}  // namespace diffllama
