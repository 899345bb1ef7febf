#include "generation/constraints/schema_validator.h"

#include <algorithm>
#include <utility>

#include "diffllama/error.h"
#include "generation/constraints/regex.h"

namespace diffllama {
namespace {

// Nested deeper, a schema refers to itself without end: documents have at most 128 levels.
constexpr int kMostDepth = 512;

std::int64_t count_characters(std::string_view text) {
  std::int64_t count = 0;
  while (take_code_point(text)) ++count;
  return count;
}

// Years 0001 to 9999, days of each month, 29 February in leap years alone.
std::string date_regex() {
  return "(?:(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-"
         "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
         "02-(?:0[1-9]|1[0-9]|2[0-8]))|"
         "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)";
}
// RFC 3339, without leap seconds.
std::string time_regex() {
  return "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"
         "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
}

}  // namespace

std::optional<std::string> format_regex(std::string_view format) {
  if (format == "date") return date_regex();
  if (format == "time") return time_regex();
  if (format == "date-time") return date_regex() + "T" + time_regex();
  if (format == "uuid") return "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
  if (format == "email") {
    return "[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,31})?@"
           "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
           "(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?){1,3}";
  }
  return std::nullopt;
}

SchemaValidator::Pattern& SchemaValidator::compiled(const std::string& pattern, bool search) {
  const auto [entry, added] = patterns_.try_emplace({pattern, search});
  if (added) {
    ConstraintLimits limits = grammar_.limits();
    limits.steps -= grammar_.steps();
    Grammar grammar(grammar_.where(), limits);
    const Grammar::Rule rule = grammar.add_rule("pattern");
    grammar.define(rule, parse_regex(grammar, pattern, search));
    entry->second.graph = ByteGraph::compile(grammar, rule);
    entry->second.automaton =
        std::make_unique<Automaton>(entry->second.graph, grammar_.where(), limits.memory);
    grammar_.step(grammar.steps());
  }
  return entry->second;
}

bool SchemaValidator::matches(const std::string& pattern, const std::string& text, bool search) {
  Automaton& automaton = *compiled(pattern, search).automaton;
  Automaton::State state = automaton.start();
  for (const char c : text) {
    grammar_.step();
    const std::size_t known = automaton.size();
    state = automaton.next(state, static_cast<std::uint8_t>(c));
    if (state == Automaton::kDead) return false;
    grammar_.step(16 * (automaton.size() - known));
  }
  return automaton.accepts(state);
}

const std::unordered_set<std::string>& SchemaValidator::keys_of(const SchemaJson& list) {
  const auto [entry, added] = keys_.try_emplace(document_.id(list));
  if (added) {
    for (const SchemaJson& value : list) entry->second.insert(document_.value_key(value));
    grammar_.step(list.size());
  }
  return entry->second;
}

bool SchemaValidator::holds(const SchemaJson& schema, const SchemaJson& value) {
  if (schema.is_boolean()) return schema.get<bool>();
  grammar_.step();
  document_.check(schema);
  if (++depth_ > kMostDepth) {
    document_.fail(schema, "", "a schema that does not refer to itself without end");
  }
  const bool result = holds_here(schema, value);
  --depth_;
  return result;
}

bool SchemaValidator::holds_here(const SchemaJson& schema, const SchemaJson& value) {
  const auto holds_of = [&](const SchemaJson& part) { return holds(part, value); };
  if (schema.contains("$ref") && !holds(document_.target(schema), value)) return false;
  if ((schema_types(schema) & document_.value_types(value)) == 0) return false;
  if (const SchemaJson* list = schema_keyword(schema, "enum")) {
    if (!keys_of(*list).contains(document_.value_key(value))) return false;
  }
  if (const SchemaJson* same = schema_keyword(schema, "const")) {
    if (document_.value_key(*same) != document_.value_key(value)) return false;
  }
  if (const SchemaJson* all = schema_keyword(schema, "allOf")) {
    if (!std::ranges::all_of(*all, holds_of)) return false;
  }
  if (const SchemaJson* any = schema_keyword(schema, "anyOf")) {
    if (!std::ranges::any_of(*any, holds_of)) return false;
  }
  if (const SchemaJson* one = schema_keyword(schema, "oneOf")) {
    if (std::ranges::count_if(*one, holds_of) != 1) return false;
  }
  if (value.is_number()) {
    NumberBounds bounds;
    document_.add_number_bounds(schema, bounds);
    return bounds.holds(document_.decimal(value));
  }
  if (value.is_string()) return holds_string(schema, value.get<std::string>());
  if (value.is_array()) return holds_array(schema, value);
  if (value.is_object()) return holds_object(schema, value);
  return true;
}

bool SchemaValidator::holds_string(const SchemaJson& schema, const std::string& text) {
  const std::int64_t length = count_characters(text);
  if (length < schema_count(schema, "minLength", 0)) return false;
  if (length > schema_count(schema, "maxLength", length)) return false;
  if (const SchemaJson* pattern = schema_keyword(schema, "pattern")) {
    if (!matches(pattern->get<std::string>(), text, true)) return false;
  }
  if (const SchemaJson* format = schema_keyword(schema, "format")) {
    const auto regex = format_regex(format->get<std::string>());
    if (!regex) document_.fail(schema, "format", kFormats);
    if (!matches(*regex, text, false)) return false;
  }
  return true;
}

bool SchemaValidator::holds_array(const SchemaJson& schema, const SchemaJson& value) {
  const auto size = static_cast<std::int64_t>(value.size());
  if (size < schema_count(schema, "minItems", 0)) return false;
  if (size > schema_count(schema, "maxItems", size)) return false;
  const SchemaJson* prefix = schema_keyword(schema, "prefixItems");
  const SchemaJson* rest = schema_keyword(schema, "items");
  for (std::size_t i = 0; i < value.size(); ++i) {
    const SchemaJson* item = prefix != nullptr && i < prefix->size() ? &(*prefix)[i] : rest;
    if (item != nullptr && !holds(*item, value[i])) return false;
  }
  return true;
}

bool SchemaValidator::holds_object(const SchemaJson& schema, const SchemaJson& value) {
  if (const SchemaJson* required = schema_keyword(schema, "required")) {
    grammar_.step(required->size() * (1 + value.size() / 64));  // members are looked for in a list
    for (const SchemaJson& name : *required) {
      if (!value.contains(name.get<std::string>())) return false;
    }
  }
  const SchemaJson* properties = schema_keyword(schema, "properties");
  const SchemaJson* others = schema_keyword(schema, "additionalProperties");
  if (properties == nullptr && others == nullptr) return true;
  // NOLINTNEXTLINE(readability-use-anyofallof): std::ranges does not take items() for a range
  for (const auto& [name, member] : value.items()) {
    grammar_.step(1 + (properties != nullptr ? properties->size() / 64 : 0));
    const SchemaJson* own =
        properties != nullptr ? schema_keyword(*properties, name.c_str()) : nullptr;
    const SchemaJson* asked = own != nullptr ? own : others;
    if (asked != nullptr && !holds(*asked, member)) return false;
  }
  return true;
}

}  // namespace diffllama
