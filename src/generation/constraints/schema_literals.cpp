#include "generation/constraints/schema_literals.h"

#include <algorithm>

#include "generation/constraints/json_text.h"

namespace diffllama {

const SchemaJson* SchemaLiterals::lister(const Conjunction& whole) const {
  for (const char* keyword : {"const", "enum"}) {
    for (const Conjunction::Id id : whole.parts) {
      if (document_.value(id).contains(keyword)) return &document_.value(id);
    }
  }
  return nullptr;
}

bool SchemaLiterals::holds(const Conjunction& whole, const SchemaJson& value) {
  for (const Conjunction::Id id : whole.parts) {
    if (!validator_.holds(document_.value(id), value)) return false;
  }
  for (const auto& [list, one] : whole.groups) {
    const auto count = std::ranges::count_if(
        document_.value(list), [&](const auto& branch) { return validator_.holds(branch, value); });
    if (count == 0 || (one && count != 1)) return false;
  }
  return std::ranges::none_of(whole.absent, [&](const std::string& name) {
    return value.is_object() && value.contains(name);
  });
}

void SchemaLiterals::gather(const Conjunction& whole, const SchemaJson& lister,
                            Gathered& gathered) {
  const auto add = [&](const SchemaJson& value) {
    grammar_.step();
    if (!holds(whole, value)) return;
    if (value.is_structured()) {
      gathered.others.push_back(literal(value));
    } else {
      gathered.texts.push_back(scalar(value));
    }
  };
  if (const SchemaJson* same = schema_keyword(lister, "const")) {
    add(*same);
  } else {
    for (const SchemaJson& value : lister.at("enum")) add(value);
  }
}

Grammar::Expression SchemaLiterals::any_of(Gathered gathered) {
  if (!gathered.texts.empty()) {
    gathered.others.push_back(grammar_.one_of(std::move(gathered.texts)));
  }
  return grammar_.alternatives(std::move(gathered.others));
}

std::string SchemaLiterals::scalar(const SchemaJson& value) const {
  if (value.is_string()) return json_string(value.get_ref<const std::string&>());
  return value.is_number() ? document_.number_text(value) : value.dump();
}

Grammar::Expression SchemaLiterals::literal(const SchemaJson& value) {
  if (!value.is_structured()) return grammar_.text(scalar(value));
  std::vector<Grammar::Expression> parts = {grammar_.text(value.is_object() ? "{" : "[")};
  for (auto part = value.begin(); part != value.end(); ++part) {
    if (part != value.begin()) parts.push_back(json_comma(grammar_));
    if (value.is_object()) {
      parts.push_back(grammar_.text(json_string(part.key())));
      parts.push_back(json_colon(grammar_));
    }
    parts.push_back(literal(*part));
  }
  parts.push_back(grammar_.text(value.is_object() ? "}" : "]"));
  return grammar_.sequence(std::move(parts));
}

}  // namespace diffllama
