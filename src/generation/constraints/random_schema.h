#pragma once

#include <random>
#include <string>

#include <nlohmann/json.hpp>

namespace diffllama {

/// Schemas drawn at random from all the keywords that are supported, which some text satisfies.
class RandomSchema {
 public:
  explicit RandomSchema(unsigned seed) : random_(seed) {}

  nlohmann::ordered_json make() {
    nlohmann::ordered_json schema = any(3);
    schema["$defs"] = {{"leaf", scalar()}};
    return schema;
  }
  std::mt19937& random() { return random_; }

 private:
  using json = nlohmann::ordered_json;

  int below(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  json any(int depth) {
    if (depth == 0) return scalar();
    switch (below(8)) {
      case 0:
      case 1:
        return object(depth);
      case 2:
      case 3:
        return array(depth);
      case 4:
        return {{"anyOf", {any(depth - 1), any(depth - 1), scalar()}}};
      case 5:
        return tagged(depth);
      case 6:
        return {{"allOf",
                 {{{"type", "integer"}, {"minimum", below(50)}}, {{"maximum", 50 + below(1000)}}}}};
      default:
        return scalar();
    }
  }
  json scalar() {
    switch (below(9)) {
      case 0:
        return {{"type", "integer"}, {"minimum", below(200) - 100}, {"maximum", 100 + below(900)}};
      case 1:
        return {{"type", "number"},
                {"exclusiveMinimum", below(100) * 0.25},
                {"maximum", 25 + below(100) * 0.5}};
      case 2:
        return {{"type", "string"}, {"minLength", below(4)}, {"maxLength", 4 + below(9)}};
      case 3: {
        const char* patterns[] = {"^[a-z]{2,5}$", "^(ab|cd)+$", "[0-9]", R"(^\w+\.\d{2}$)", "^$|x"};
        return {{"type", "string"}, {"pattern", patterns[below(5)]}, {"maxLength", 8}};
      }
      case 4: {
        const char* formats[] = {"date", "time", "date-time", "uuid", "email"};
        return {{"type", "string"}, {"format", formats[below(5)]}};
      }
      case 5:
        return {{"enum", {"red", "green", 7, nullptr, true, {{"k", "v"}}}}};
      case 6:
        return {{"const", "c" + std::to_string(below(100))}};
      case 7:
        return {{"type", {"boolean", "null"}}};
      default:
        return {{"type", "integer"}};
    }
  }
  json object(int depth) {
    json schema = {{"type", "object"}, {"properties", json::object()}, {"required", json::array()}};
    for (int i = below(4); i >= 0; --i) {
      const std::string name =
          std::string(1, static_cast<char>('a' + i)) + (i == 1 ? "\"\xc3\xa9" : "");
      schema["properties"][name] = any(depth - 1);
      if (below(2) == 0) schema["required"].push_back(name);
    }
    const int others = below(4);
    if (others == 0) schema["additionalProperties"] = false;
    if (others == 1) schema["additionalProperties"] = {{"$ref", "#/$defs/leaf"}};
    return schema;
  }
  json array(int depth) {
    json schema = {{"type", "array"}};
    if (below(2) == 0) schema["prefixItems"] = {any(depth - 1), scalar()};
    if (below(2) == 0) schema["items"] = any(depth - 1);
    schema["minItems"] = below(3);
    schema["maxItems"] = 2 + below(3);
    return schema;
  }
  json tagged(int depth) {
    json branches = json::array();
    for (int i = 0; i < 3; ++i) {
      branches.push_back({{"type", "object"},
                          {"properties", {{"kind", {{"const", i}}}, {"value", any(depth - 1)}}},
                          {"required", {"kind", "value"}}});
    }
    return {{"oneOf", branches}};
  }

  std::mt19937 random_;
};

}  // namespace diffllama
