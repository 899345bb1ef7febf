#include "generation/constraints/schema.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/json.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::int64_t kMostCount = 1'000'000;
constexpr std::size_t kMostMembers = 5000;

enum class Takes { anything, schema, schemas, schema_map, count, number, names, text, types, list };

struct Keyword {
  std::string_view name;
  Takes takes;
};

constexpr Keyword kKeywords[] = {
    // What asks for nothing.
    {"$schema", Takes::anything},
    {"$id", Takes::anything},
    {"$anchor", Takes::text},
    {"$comment", Takes::anything},
    {"title", Takes::anything},
    {"description", Takes::anything},
    {"default", Takes::anything},
    {"examples", Takes::anything},
    {"deprecated", Takes::anything},
    {"readOnly", Takes::anything},
    {"writeOnly", Takes::anything},
    {"discriminator", Takes::anything},  // of OpenAPI: which branch of a oneOf, by its const
    {"example", Takes::anything},
    {"markdownDescription", Takes::anything},
    {"$defs", Takes::anything},
    {"definitions", Takes::anything},
    // What asks for something.
    {"$ref", Takes::text},
    {"type", Takes::types},
    {"enum", Takes::list},
    {"const", Takes::anything},
    {"allOf", Takes::schemas},
    {"anyOf", Takes::schemas},
    {"oneOf", Takes::schemas},
    {"properties", Takes::schema_map},
    {"required", Takes::names},
    {"additionalProperties", Takes::schema},
    {"prefixItems", Takes::schemas},
    {"items", Takes::schema},
    {"minItems", Takes::count},
    {"maxItems", Takes::count},
    {"minLength", Takes::count},
    {"maxLength", Takes::count},
    {"pattern", Takes::text},
    {"format", Takes::text},
    {"minimum", Takes::number},
    {"maximum", Takes::number},
    {"exclusiveMinimum", Takes::number},
    {"exclusiveMaximum", Takes::number},
};

const SchemaJson kAnyName = {{"type", "string"}};

constexpr std::pair<std::string_view, unsigned> kTypes[] = {
    {"null", kNull},       {"boolean", kBoolean},
    {"integer", kInteger}, {"number", kNumber | kInteger},
    {"string", kString},   {"array", kArray},
    {"object", kObject}};

// The numbers of a text that do not fit into 64 bits of an integer, as they stand in it.
struct NumberTexts {
  std::vector<std::string> texts = {};

  bool number_float(double /*value*/, const std::string& text) {
    texts.push_back(text);
    return true;
  }
  static bool null() { return true; }
  static bool boolean(bool /*value*/) { return true; }
  static bool number_integer(std::int64_t /*value*/) { return true; }
  static bool number_unsigned(std::uint64_t /*value*/) { return true; }
  static bool string(const std::string& /*value*/) { return true; }
  static bool binary(const SchemaJson::binary_t& /*value*/) { return true; }
  static bool start_object(std::size_t /*size*/) { return true; }
  static bool key(const std::string& /*name*/) { return true; }
  static bool end_object() { return true; }
  static bool start_array(std::size_t /*size*/) { return true; }
  static bool end_array() { return true; }
  static bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                          const SchemaJson::exception& /*error*/) {
    return false;
  }
};

bool is_schema(const SchemaJson& value) { return value.is_object() || value.is_boolean(); }

bool is_list_of(const SchemaJson& value, bool (*holds)(const SchemaJson&)) {
  return value.is_array() && std::ranges::all_of(value, holds);
}

bool is_type_name(const SchemaJson& value) {
  return value.is_string() &&
         std::ranges::any_of(kTypes, [&](const auto& type) { return value == type.first; });
}

std::string what_is_wrong(Takes takes, const SchemaJson& value) {
  const auto unless = [](bool holds, const char* expected) {
    return holds ? std::string() : std::string(expected);
  };
  switch (takes) {
    case Takes::anything:
      return {};
    case Takes::schema:
      return unless(is_schema(value), "a schema");
    case Takes::schemas:
      return unless(!value.empty() && is_list_of(value, is_schema), "a list of schemas");
    case Takes::schema_map:
      return unless(value.is_object() && std::ranges::all_of(value, is_schema),
                    "an object of schemas");
    case Takes::count:
      return unless(value.is_number() && value.get<double>() >= 0 &&
                        value.get<double>() <= kMostCount &&
                        value.get<double>() == std::floor(value.get<double>()),
                    "an integer from 0 to 1000000");
    case Takes::number:
      return unless(value.is_number(), "a number");
    case Takes::names:
      return unless(is_list_of(value, [](const SchemaJson& name) { return name.is_string(); }),
                    "a list of strings");
    case Takes::text:
      return unless(value.is_string(), "a string");
    case Takes::types:
      return unless(is_type_name(value) || is_list_of(value, is_type_name),
                    "null, boolean, integer, number, string, array or object, or a list of these");
    case Takes::list:
      return unless(value.is_array() && !value.empty(), "a list of values");
  }
  return {};
}

// Of a keyword that is not supported.
bool asks_for_nothing(const std::string& name, const SchemaJson& value) {
  if (name == "uniqueItems") return value == false;
  if (name == "propertyNames") {
    return value == true || (value.is_object() && (value.empty() || value == kAnyName));
  }
  return name.starts_with("x-");
}

std::string escape_pointer(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (c == '~') {
      text += "~0";
    } else if (c == '/') {
      text += "~1";
    } else {
      text += c;
    }
  }
  return text;
}

// "%25" and "~1" of a part of a JSON pointer in a URI.
std::string unescape_pointer(std::string_view part) {
  std::string bytes, text;
  for (std::size_t i = 0; i < part.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      return at < part.size()
                 ? std::string_view("0123456789abcdef").find(static_cast<char>(part[at] | 0x20))
                 : std::string_view::npos;
    };
    if (part[i] == '%' && digit(i + 1) < 16 && digit(i + 2) < 16) {
      bytes += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else {
      bytes += part[i];
    }
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '~' && i + 1 < bytes.size() && (bytes[i + 1] == '0' || bytes[i + 1] == '1')) {
      text += bytes[++i] == '0' ? '~' : '/';
    } else {
      text += bytes[i];
    }
  }
  return text;
}

}  // namespace

SchemaDocument::SchemaDocument(std::string_view text, std::string where)
    : where_(std::move(where)) {
  try {
    // Properties come in the schema's order, and each is looked for among all of its object's.
    root_ = parse_ordered_json(text, where_, {.members = kMostMembers});
  } catch (const FormatError& error) {
    throw InvalidArgument(error.what());
  }
  if (!is_schema(root_)) throw InvalidArgument(where_ + ": #: expected a schema");
  read_number_texts(text);
  number(root_, nullptr);
  checked_.resize(values_.size(), false);
}

void SchemaDocument::read_number_texts(std::string_view text) {
  NumberTexts found;
  SchemaJson::sax_parse(text.begin(), text.end(), &found);
  if (found.texts.empty()) return;
  std::size_t next = 0;
  const auto walk = [&](const auto& self, const SchemaJson& value) -> void {
    if (value.is_number_float()) number_texts_[&value] = std::move(found.texts[next++]);
    if (!value.is_structured()) return;
    for (const SchemaJson& part : value) self(self, part);
  };
  walk(walk, root_);
}

SchemaDocument::Id SchemaDocument::number(const SchemaJson& value, const Place* place) {
  std::string key;
  const auto below = [&](const SchemaJson& part, const std::string* name, std::size_t item) {
    places_.push_back({.above = place, .name = name, .item = item});
    key += std::to_string(number(part, &places_.back())) + ",";
  };
  if (value.is_object()) {
    key = "{";
    for (auto member = value.begin(); member != value.end(); ++member) {
      key += std::to_string(member.key().size()) + ":" + member.key();
      below(*member, &member.key(), 0);
    }
    if (const SchemaJson* anchor = schema_keyword(value, "$anchor");
        anchor != nullptr && anchor->is_string()) {
      anchors_.emplace(anchor->get<std::string>(), &value);
    }
  } else if (value.is_array()) {
    key = "[";
    for (std::size_t i = 0; i < value.size(); ++i) below(value[i], nullptr, i);
  } else {
    key = value.is_number() ? number_text(value) : value.dump();
  }
  const auto [entry, added] = known_.try_emplace(std::move(key), static_cast<Id>(values_.size()));
  if (added) {
    values_.push_back(&value);
    paths_.push_back(place);
  }
  ids_[&value] = entry->second;
  return entry->second;
}

std::string SchemaDocument::path(Id id) const {
  constexpr std::size_t kMostBytes = 300;
  std::string path;
  for (const Place* place = paths_[id]; place != nullptr; place = place->above) {
    const std::string name =
        place->name != nullptr ? escape_pointer(*place->name) : std::to_string(place->item);
    if (path.size() + name.size() > kMostBytes) return "#/..." + path;
    path.insert(0, "/" + name);
  }
  return "#" + path;
}

std::string SchemaDocument::number_text(const SchemaJson& value) const {
  const auto known = number_texts_.find(&value);
  return known != number_texts_.end() ? known->second : value.dump();
}

unsigned SchemaDocument::value_types(const SchemaJson& value) const {
  if (value.is_null()) return kNull;
  if (value.is_boolean()) return kBoolean;
  if (value.is_string()) return kString;
  if (value.is_array()) return kArray;
  if (value.is_object()) return kObject;
  return decimal(value).is_integer() ? kInteger | kNumber : kNumber;
}

void SchemaDocument::add_number_bounds(const SchemaJson& schema, NumberBounds& bounds) const {
  const auto with = [&](const char* keyword, const auto& add) {
    if (const SchemaJson* value = schema_keyword(schema, keyword)) add(decimal(*value));
  };
  with("minimum", [&](const Decimal& value) { bounds.at_least(value, false); });
  with("exclusiveMinimum", [&](const Decimal& value) { bounds.at_least(value, true); });
  with("maximum", [&](const Decimal& value) { bounds.at_most(value, false); });
  with("exclusiveMaximum", [&](const Decimal& value) { bounds.at_most(value, true); });
}

std::string SchemaDocument::value_key(const SchemaJson& value) const {
  if (value.is_number()) {
    const Decimal number = decimal(value);
    return (number.negative ? "-." : ".") + number.digits + "e" + std::to_string(number.exponent);
  }
  if (!value.is_structured()) return value.dump();
  std::vector<std::string> parts;
  for (auto part = value.begin(); part != value.end(); ++part) {
    parts.push_back((value.is_object() ? SchemaJson(part.key()).dump() + ":" : "") +
                    value_key(*part));
  }
  if (value.is_object()) std::ranges::sort(parts);
  std::string key(1, value.is_object() ? '{' : '[');
  for (const std::string& part : parts) key.append(part).append(1, ',');
  return key + (value.is_object() ? '}' : ']');
}

void SchemaDocument::fail(const SchemaJson& schema, const std::string& keyword,
                          const std::string& expected) const {
  const SchemaJson* found = schema.is_object() ? schema_keyword(schema, keyword.c_str()) : nullptr;
  std::string place = path(id(schema));
  if (!keyword.empty()) (place += '/') += escape_pointer(keyword);
  throw InvalidArgument(
      where_ + ": " + place + ": expected " + expected + ", got " +
      json_excerpt(found != nullptr ? nlohmann::json(*found) : nlohmann::json(schema)));
}

void SchemaDocument::check(const SchemaJson& schema) {
  const Id number = id(schema);
  if (checked_[number] || schema.is_boolean()) return;
  checked_[number] = true;
  for (const auto& [name, value] : schema.items()) {
    const auto keyword = std::ranges::find(kKeywords, name, &Keyword::name);
    if (keyword == std::end(kKeywords)) {
      if (asks_for_nothing(name, value)) continue;
      fail(schema, name, "a keyword that is supported");
    }
    if (name == "$id" && &schema != &root_) fail(schema, name, "no $id but the document's own");
    if (const std::string expected = what_is_wrong(keyword->takes, value); !expected.empty()) {
      fail(schema, name, expected);
    }
  }
}

// The schema of an $anchor.
const SchemaJson* SchemaDocument::named_place(std::string_view reference,
                                              const SchemaJson& schema) const {
  const auto [first, last] = anchors_.equal_range(std::string(reference));
  if (first == last) fail(schema, "$ref", "an $anchor that is in the document");
  if (std::next(first) != last) fail(schema, "$ref", "an $anchor that is in the document once");
  return first->second;
}

const SchemaJson& SchemaDocument::target(const SchemaJson& schema) const {
  const std::string reference = schema.at("$ref").get<std::string>();
  std::string_view rest = reference;
  // The document's own $id, whole or its last part, is where it is.
  if (const SchemaJson* own = schema_keyword(root_, "$id"); own != nullptr && own->is_string()) {
    std::string_view id = own->get_ref<const std::string&>();
    if (id.ends_with('#')) id.remove_suffix(1);
    const std::string_view file = id.substr(id.rfind('/') + 1);
    for (const std::string_view name : {id, file}) {
      if (name.empty() || !rest.starts_with(name)) continue;
      const std::string_view behind = rest.substr(name.size());
      if (!behind.empty() && !behind.starts_with('#')) continue;
      rest = behind.empty() ? std::string_view("#") : behind;
      break;
    }
  }
  if (!rest.starts_with('#')) {
    fail(schema, "$ref", "a reference into this document, #/...");
  }
  rest.remove_prefix(1);
  if (!rest.empty() && !rest.starts_with('/')) return *named_place(rest, schema);
  const SchemaJson* value = &root_;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string name = unescape_pointer(rest.substr(0, end));
    rest.remove_prefix(end);
    const SchemaJson* next = nullptr;
    if (value->is_object()) {
      next = schema_keyword(*value, name.c_str());
    } else if (value->is_array() && !name.empty() && name.size() < 8 &&
               name.find_first_not_of("0123456789") == std::string::npos) {
      const std::size_t index = std::stoul(name);
      if (index < value->size()) next = &(*value)[index];
    }
    if (next == nullptr) fail(schema, "$ref", "a place that is in the document");
    value = next;
  }
  if (!is_schema(*value)) fail(schema, "$ref", "the place of a schema");
  return *value;
}

const SchemaJson* schema_keyword(const SchemaJson& schema, const char* keyword) {
  if (!schema.is_object()) return nullptr;
  const auto found = schema.find(keyword);
  return found == schema.end() ? nullptr : &*found;
}

unsigned schema_types(const SchemaJson& schema) {
  const SchemaJson* found = schema_keyword(schema, "type");
  if (found == nullptr) return kAnyType;
  unsigned types = 0;
  const auto add = [&](const SchemaJson& name) {
    for (const auto& [known, bits] : kTypes) types |= name == known ? bits : 0;
  };
  if (found->is_array()) {
    for (const SchemaJson& name : *found) add(name);
  } else {
    add(*found);
  }
  return types;
}

std::int64_t schema_count(const SchemaJson& schema, const char* keyword, std::int64_t absent) {
  const SchemaJson* value = schema_keyword(schema, keyword);
  return value == nullptr ? absent : static_cast<std::int64_t>(value->get<double>());
}

}  // namespace diffllama
