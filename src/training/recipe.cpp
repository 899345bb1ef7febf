#include "training/recipe.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/json.h"
#include "base/text.h"
#include "config/json_fields.h"
#include "diffllama/error.h"
#include "training/data/token_rows.h"
#include "training/json_differences.h"
#include "training/recipe_fields.h"

namespace diffllama {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kKinds =
    "text, jsonl, chat, completion, classification, squad, conllu or conll";

// A name without its section is held against the fields' own names.
std::string nearest(const std::string& name, const std::vector<std::string>& known) {
  const bool whole = name.find('.') != std::string::npos;
  std::vector<std::string> names = known;
  for (std::string& other : names) {
    if (!whole) other.erase(0, other.find('.') + 1);
  }
  return known[nearest_of(name, names)];
}

[[noreturn]] void reject_name(const std::string& where, const std::string& what,
                              const std::string& name, const std::vector<std::string>& known) {
  throw ConfigError(where + ": expected a known " + what + ", got " + json_excerpt(name) +
                    "; the nearest is " + nearest(name, known));
}

std::vector<std::string> section_names() {
  std::vector<std::string> names;
  for (const RecipeFieldAccess& field : recipe_field_table()) {
    if (names.empty() || names.back() != field.section) names.push_back(field.section);
  }
  return names;
}

std::vector<std::string> field_names(const std::string& section) {
  std::vector<std::string> names;
  for (const RecipeFieldAccess& field : recipe_field_table()) {
    if (section.empty() || field.section == section) names.push_back(field.full_name());
  }
  return names;
}

const RecipeFieldAccess* find_field(const std::string& full_name) {
  const auto& table = recipe_field_table();
  const auto found = std::ranges::find(table, full_name, &RecipeFieldAccess::full_name);
  return found == table.end() ? nullptr : &*found;
}

std::string dotted(const std::string& section, const std::string& name) {
  return section + "." + name;
}

void read_section(Recipe& recipe, const std::string& section, const json& object,
                  const std::string& where) {
  if (!object.is_object()) reject_field(where, section, "an object", json_excerpt(object));
  for (const auto& [name, value] : object.items()) {
    const std::string full_name = dotted(section, name);
    const RecipeFieldAccess* field = find_field(full_name);
    if (field == nullptr) reject_name(where, "field", full_name, field_names(section));
    field->read(recipe, value, where);
  }
}

bool is_language_modelling(const Recipe& recipe) {
  return recipe.data.kind && architecture_for(*recipe.data.kind) == Architecture::causal_lm;
}

// What an evaluation of this data may give.
std::vector<std::string> measures_for(const Recipe& recipe) {
  switch (architecture_for(*recipe.data.kind)) {
    case Architecture::causal_lm:
      return {"loss", "perplexity", "bits_per_byte"};
    case Architecture::sequence_classification:
      return {"loss", "accuracy", "macro_f1", "matthews_correlation", "pearson", "spearman"};
    case Architecture::question_answering:
      return {"loss", "exact_match", "f1"};
    case Architecture::token_classification:
      return {"loss", "accuracy", "entity_f1", "entity_precision", "entity_recall"};
    case Architecture::base_model:
      break;
  }
  return {};
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  return first == std::string::npos ? ""
                                    : text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

// What a value on the command line means to a field: JSON where it can be nothing else.
json command_line_value(const RecipeFieldAccess& field, const std::string& text,
                        const std::string& where) {
  const std::string value = trimmed(text);
  const bool is_json = !value.empty() && (value.front() == '{' || value.front() == '[' ||
                                          value.front() == '"' || value == "null");
  if (field.takes_text && !is_json) return value;
  try {
    return parse_json(value, where);
  } catch (const FormatError&) {
    return value;  // the field says what it expects
  }
}

ordered_json to_json(const Recipe& recipe) {
  Recipe copy = recipe;
  ordered_json result;
  for (const RecipeFieldAccess& field : recipe_field_table()) {
    if (field.section == "lora" && !recipe.lora) {
      result["lora"] = nullptr;
    } else {
      result[field.section][field.name] = ordered_json::parse(field.write(copy).dump());
    }
  }
  return result;
}

}  // namespace

Architecture architecture_for(DataKind kind) {
  switch (kind) {
    case DataKind::text:
    case DataKind::jsonl:
    case DataKind::chat:
    case DataKind::completion:
      return Architecture::causal_lm;
    case DataKind::classification:
      return Architecture::sequence_classification;
    case DataKind::squad:
      return Architecture::question_answering;
    case DataKind::conllu:
    case DataKind::conll:
      return Architecture::token_classification;
  }
  return Architecture::causal_lm;
}

std::int64_t sequence_length(const DataRecipe& data, const ModelConfig& config) {
  if (data.sequence_length != 0) return data.sequence_length;
  return std::min<std::int64_t>(512, config.max_position_embeddings);
}

double Recipe::spike_factor() const {
  return metrics.spike_factor.value_or(is_language_modelling(*this) ? 3.0 : 0.0);
}

Recipe parse_recipe(std::string_view json_text, const std::string& where) {
  const json document = parse_json(json_text, where);
  if (!document.is_object()) {
    throw FormatError(where + ": expected an object, got " + json_excerpt(document));
  }
  const std::vector<std::string> sections = section_names();
  Recipe recipe;
  for (const auto& [section, object] : document.items()) {
    if (std::ranges::find(sections, section) == sections.end()) {
      reject_name(where, "section", section, sections);
    }
    if (section == "lora") {
      if (object.is_null()) continue;
      recipe.lora.emplace();  // also for {}
    }
    read_section(recipe, section, object, where);
  }
  return recipe;
}

void set_recipe_field(Recipe& recipe, const std::string& name, const std::string& value) {
  const std::string where = "--set " + name + "=" + shortened(value);
  if (!is_utf8(value)) reject_field(where, name, "UTF-8", "other bytes");
  if (name == "lora") {
    if (trimmed(value) != "null") {
      reject_field(where, name, "null, or one field of an adapter, as in --set lora.r=8", value);
    }
    recipe.lora.reset();
    return;
  }
  const RecipeFieldAccess* field = find_field(name);
  if (field == nullptr) {
    std::vector<std::string> known = field_names(name.substr(0, name.find('.')));
    reject_name(where, "field", name, known.empty() ? field_names("") : known);
  }
  field->read(recipe, command_line_value(*field, value, where), where);
}

void validate_evaluation(const Recipe& recipe, const std::string& where) {
  if (!recipe.data.kind) reject_field(where, "data.kind", kKinds, "none");
  if (recipe.data.valid.empty()) reject_field(where, "data.valid", "files to evaluate on", "none");
}

void validate(const Recipe& recipe, const std::string& where) {
  const auto require = [&](bool holds, const char* field, const char* expected,
                           const std::string& found) {
    if (!holds) reject_field(where, field, expected, found);
  };
  const bool from = !recipe.model.from.empty();
  const bool config = !recipe.model.config.is_null();
  require(from != config, "model", "either from (a model) or config (a new one)",
          from ? "both" : "neither");
  const bool trains_tokenizer = recipe.tokenizer.type.has_value();
  require(from || trains_tokenizer || !recipe.model.tokenizer.empty(), "model.tokenizer",
          "the path of a tokenizer for a new model, or a tokenizer.type to train", "none");
  require(!trains_tokenizer || config, "tokenizer.type",
          "null for a model that was trained with a tokenizer of its own", "one to train");
  require(!trains_tokenizer || recipe.model.tokenizer.empty(), "model.tokenizer",
          "null where tokenizer.type says to train one", recipe.model.tokenizer);
  require(recipe.data.kind.has_value(), "data.kind", kKinds, "none");
  require(!recipe.data.train.empty(), "data.train", "files to train on", "none");
  require(!recipe.checkpoints.output_dir.empty(), "checkpoints.output_dir", "a directory", "none");
  require(recipe.data.sequence_length != 1, "data.sequence_length", "0, or at least 2", "1");
  const bool texts = recipe.data.kind == DataKind::text || recipe.data.kind == DataKind::jsonl;
  require(!trains_tokenizer || texts || !recipe.tokenizer.files.empty(), "tokenizer.files",
          "files of text, since data.train holds something else", "none");
  const bool labelled = recipe.data.kind == DataKind::classification ||
                        recipe.data.kind == DataKind::conllu || recipe.data.kind == DataKind::conll;
  require(labelled || recipe.model.labels.empty(), "model.labels",
          "none but for classification, conllu and conll", json_excerpt(json(recipe.model.labels)));
  const std::set<std::string> distinct(recipe.model.labels.begin(), recipe.model.labels.end());
  require(distinct.size() == recipe.model.labels.size(), "model.labels", "each name once",
          json_excerpt(json(recipe.model.labels)));
  require(recipe.data.kind == DataKind::classification || !recipe.model.problem_type,
          "model.problem_type", "null but for classification", "a problem type");
  const std::vector<std::string> measures = measures_for(recipe);
  require(std::ranges::find(measures, recipe.checkpoints.best_metric) != measures.end(),
          "checkpoints.best_metric", label_names(measures).c_str(), recipe.checkpoints.best_metric);
  require(recipe.checkpoints.best_metric == "loss" || !recipe.data.valid.empty(), "data.valid",
          "files to evaluate on, for checkpoints.best_metric", "none");
  require(!recipe.lora || recipe.training.train_only.empty(), "training.train_only",
          "none with lora, which trains its adapter alone",
          json_excerpt(json(recipe.training.train_only)));
  require(!recipe.lora || recipe.training.freeze.empty(), "training.freeze",
          "none with lora, which trains its adapter alone",
          json_excerpt(json(recipe.training.freeze)));
  require(!recipe.lora || !config, "lora", "null for a new model: adapters change a trained one",
          "an adapter");
}

std::string write_recipe(const Recipe& recipe) { return to_json(recipe).dump(2) + "\n"; }

std::vector<RecipeField> recipe_fields() {
  Recipe defaults;
  std::vector<RecipeField> fields;
  for (const RecipeFieldAccess& field : recipe_field_table()) {
    fields.push_back({field.full_name(), field.write(defaults).dump(), field.help});
  }
  return fields;
}

std::vector<std::string> recipe_differences(const Recipe& recipe, const Recipe& before) {
  const json now = json::parse(to_json(recipe).dump());
  const json old = json::parse(to_json(before).dump());
  std::vector<std::string> differences;
  for (const JsonDifference& each : json_differences(now, old)) {
    differences.push_back(each.name + ": " + each.value + ", was " + each.before);
  }
  return differences;
}

}  // namespace diffllama
