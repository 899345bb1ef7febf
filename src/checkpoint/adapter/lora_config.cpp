#include "checkpoint/adapter/lora_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "base/json.h"
#include "config/json_fields.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxRank = std::int64_t{1} << 20;
constexpr std::size_t kMaxNames = 10'000;
constexpr std::size_t kMaxPatterns = 1'000;

// Fields that change what is computed, which only their neutral value leaves as it is.
constexpr std::array kMustBeNeutral = {"use_dora",          "fan_in_fan_out",
                                       "lora_bias",         "layers_to_transform",
                                       "layers_pattern",    "layer_replication",
                                       "target_parameters", "trainable_token_indices",
                                       "use_qalora",        "use_bdlora",
                                       "velora_config",     "monteclora_config",
                                       "arrow_config",      "alora_invocation_tokens",
                                       "kasa_config",       "ensure_weight_tying",
                                       "megatron_config"};
// Fields of training, or of its start, that a trained adapter does not need.
constexpr std::array kWithoutEffect = {
    "auto_mapping",      "corda_config",   "eva_config",      "inference_mode", "loftq_config",
    "lora_ga_config",    "megatron_core",  "peft_version",    "revision",       "runtime_config",
    "qalora_group_size", "lora_ga_config", "base_model_class"};
constexpr std::array kRead = {"peft_type",
                              "task_type",
                              "r",
                              "lora_alpha",
                              "lora_dropout",
                              "use_rslora",
                              "target_modules",
                              "exclude_modules",
                              "modules_to_save",
                              "rank_pattern",
                              "alpha_pattern",
                              "bias",
                              "init_lora_weights",
                              "base_model_name_or_path"};
// Starts of A and B that leave the base model's weights alone.
constexpr std::array kPlainStarts = {"gaussian", "orthogonal", "eva"};

constexpr const char* kTasks =
    "CAUSAL_LM, SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURE_EXTRACTION or null";

// Modules that PEFT's class for a task trains whole, in the order in which it adds them.
std::vector<std::string> heads_of_task(const std::string& task) {
  if (task == "SEQ_CLS" || task == "TOKEN_CLS") return {"classifier", "score"};
  if (task == "QUESTION_ANS") return {"qa_outputs"};
  return {};
}

const char* task_of(Architecture architecture) {
  switch (architecture) {
    case Architecture::base_model:
      return "FEATURE_EXTRACTION";
    case Architecture::causal_lm:
      return "CAUSAL_LM";
    case Architecture::sequence_classification:
      return "SEQ_CLS";
    case Architecture::question_answering:
      return "QUESTION_ANS";
    case Architecture::token_classification:
      return "TOKEN_CLS";
  }
  return "";
}

void add_once(std::vector<std::string>& list, const std::string& name) {
  if (std::ranges::find(list, name) == list.end()) list.push_back(name);
}

bool is_neutral(const json& value) {
  return value.is_null() || value == json(false) || (value.is_structured() && value.empty());
}

template <class List>
bool holds(const List& list, const std::string& name) {
  return std::ranges::find(list, name) != list.end();
}

class ConfigReader {
 public:
  ConfigReader(const json& object, const std::string& where, const WarningHandler& warn)
      : fields_(object, where), warn_(warn) {}

  LoraConfig read() const {
    check_kind();
    check_unsupported();
    LoraConfig config;
    fields_.read("r", config.rank);
    fields_.read("lora_alpha", config.alpha);
    fields_.read("lora_dropout", config.dropout);
    fields_.read("use_rslora", config.rslora);
    if (fields_.find("target_modules") == nullptr) {
      fields_.reject("target_modules", "a list of modules or a string");
    }
    names_or_text("target_modules", config.target_modules, config.target_expression);
    names_or_text("exclude_modules", config.exclude_modules, config.exclude_expression);
    if (const json* list = fields_.find("modules_to_save")) {
      config.modules_to_save = names("modules_to_save", *list);
    }
    const std::string task = fields_.text("task_type").value_or("");
    for (const std::string& head : heads_of_task(task)) add_once(config.modules_to_save, head);
    config.rank_pattern = pattern<std::int64_t>("rank_pattern");
    config.alpha_pattern = pattern<double>("alpha_pattern");
    config.base_model_name_or_path = fields_.text("base_model_name_or_path").value_or("");
    validate(config, fields_.where());
    return config;
  }

 private:
  void check_kind() const {
    if (fields_.text("peft_type") != "LORA") fields_.reject("peft_type", "\"LORA\"");
    const std::string task = fields_.text("task_type").value_or("CAUSAL_LM");
    if (task != "CAUSAL_LM" && task != "FEATURE_EXTRACTION" && heads_of_task(task).empty()) {
      fields_.reject("task_type", kTasks);
    }
  }

  void check_unsupported() const {
    for (const char* field : kMustBeNeutral) {
      const json* value = fields_.find(field);
      if (value == nullptr || is_neutral(*value)) continue;
      fields_.reject(field, value->is_boolean() ? "false, the one that is supported"
                                                : "null, the one that is supported");
    }
    if (fields_.text("bias").value_or("none") != "none") {
      fields_.reject("bias", "\"none\", the one that is supported");
    }
    const json* start = fields_.find("init_lora_weights");
    const bool plain = start == nullptr || start->is_boolean() ||
                       (start->is_string() && holds(kPlainStarts, start->get<std::string>()));
    if (!plain) {
      fields_.reject("init_lora_weights",
                     "true, false, \"gaussian\", \"orthogonal\" or \"eva\", which leave the base "
                     "model's weights alone");
    }
    std::string unknown;
    for (const auto& [field, value] : fields_.object().items()) {
      if (holds(kMustBeNeutral, field) || holds(kWithoutEffect, field) || holds(kRead, field) ||
          is_neutral(value)) {
        continue;
      }
      unknown += (unknown.empty() ? "" : ", ") + json_excerpt(json(field));
      if (unknown.size() > 200) break;
    }
    if (!unknown.empty()) {
      emit_warning(warn_, fields_.where() + ": fields that are not known are ignored: " + unknown);
    }
  }

  std::vector<std::string> names(const char* field, const json& list) const {
    if (!list.is_array()) fields_.reject(field, "a list of modules");
    std::vector<std::string> names;
    for (const json& name : list) {
      if (!name.is_string() || name.get_ref<const std::string&>().empty()) {
        reject_field(fields_.where(), field, "names of modules", json_excerpt(name));
      }
      names.push_back(name.get<std::string>());
    }
    return names;
  }

  void names_or_text(const char* field, std::vector<std::string>& list, std::string& text) const {
    const json* value = fields_.find(field);
    list.clear();
    if (value == nullptr) return;
    if (value->is_string()) {
      text = value->get<std::string>();
      if (text.empty()) fields_.reject(field, "a list of modules or a regular expression");
    } else {
      list = names(field, *value);
    }
  }

  template <class Value>
  std::map<std::string, Value> pattern(const char* field) const {
    std::map<std::string, Value> values;
    const json* object = fields_.find_object(field);
    if (object == nullptr) return values;
    const JsonFields inside(*object, fields_.where() + ": " + field);
    for (const auto& [name, value] : object->items()) inside.read(name.c_str(), values[name]);
    return values;
  }

  JsonFields fields_;
  const WarningHandler& warn_;
};

json list_or_text(const std::vector<std::string>& list, const std::string& text) {
  if (!text.empty()) return text;
  return list;
}

// PEFT's type is an integer; it takes others too.
json number(double value) {
  const bool whole = std::trunc(value) == value && std::abs(value) < 1e15;
  return whole ? json(static_cast<std::int64_t>(value)) : json(value);
}

}  // namespace

void validate(const LoraConfig& config, const std::string& where) {
  const auto check_rank = [&](const std::string& field, std::int64_t rank) {
    if (rank < 1 || rank > kMaxRank) {
      reject_field(where, field, "1 to 1048576", number_text(rank));
    }
  };
  const auto check_alpha = [&](const std::string& field, double alpha) {
    if (!(std::abs(alpha) <= 1e30)) {
      reject_field(where, field, "a finite number of at most 1e30", number_text(alpha));
    }
  };
  check_rank("r", config.rank);
  check_alpha("lora_alpha", config.alpha);
  if (!(config.dropout >= 0 && config.dropout <= 1)) {
    reject_field(where, "lora_dropout", "0 to 1", number_text(config.dropout));
  }
  const auto check_size = [&](const char* field, std::size_t size, std::size_t most) {
    if (size > most) {
      reject_field(where, field, "at most " + std::to_string(most) + " entries",
                   std::to_string(size));
    }
  };
  check_size("target_modules", config.target_modules.size(), kMaxNames);
  check_size("exclude_modules", config.exclude_modules.size(), kMaxNames);
  check_size("modules_to_save", config.modules_to_save.size(), kMaxNames);
  check_size("rank_pattern", config.rank_pattern.size(), kMaxPatterns);
  check_size("alpha_pattern", config.alpha_pattern.size(), kMaxPatterns);
  const auto field = [](const char* pattern, const std::string& key) {
    return std::string(pattern) + ": " + json_excerpt(json(key));
  };
  for (const auto& [key, rank] : config.rank_pattern) check_rank(field("rank_pattern", key), rank);
  for (const auto& [key, alpha] : config.alpha_pattern) {
    check_alpha(field("alpha_pattern", key), alpha);
  }
}

LoraConfig parse_lora_config(std::string_view json_text, const std::string& where,
                             const WarningHandler& warn) {
  const json object = parse_json(json_text, where);
  if (!object.is_object()) {
    throw FormatError(where + ": expected a JSON object, got " + json_excerpt(object));
  }
  return ConfigReader(object, where, warn).read();
}

std::string write_lora_config(const LoraConfig& config, Architecture architecture) {
  json alphas = json::object();
  for (const auto& [key, alpha] : config.alpha_pattern) alphas[key] = number(alpha);
  json object = {{"alpha_pattern", alphas},
                 {"auto_mapping", nullptr},
                 {"base_model_name_or_path", nullptr},
                 {"bias", "none"},
                 {"exclude_modules", nullptr},
                 {"fan_in_fan_out", false},
                 {"inference_mode", true},
                 {"init_lora_weights", true},
                 {"layers_pattern", nullptr},
                 {"layers_to_transform", nullptr},
                 {"lora_alpha", number(config.alpha)},
                 {"lora_dropout", config.dropout},
                 {"modules_to_save", nullptr},
                 {"peft_type", "LORA"},
                 {"r", config.rank},
                 {"rank_pattern", json(config.rank_pattern)},
                 {"revision", nullptr},
                 {"target_modules", list_or_text(config.target_modules, config.target_expression)},
                 {"task_type", task_of(architecture)},
                 {"use_dora", false},
                 {"use_rslora", config.rslora}};
  if (config.rank_pattern.empty()) object["rank_pattern"] = json::object();
  if (!config.base_model_name_or_path.empty()) {
    object["base_model_name_or_path"] = config.base_model_name_or_path;
  }
  if (!config.exclude_modules.empty() || !config.exclude_expression.empty()) {
    object["exclude_modules"] = list_or_text(config.exclude_modules, config.exclude_expression);
  }
  if (!config.modules_to_save.empty()) object["modules_to_save"] = config.modules_to_save;
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

LoraConfig with_trained_head(LoraConfig config, Architecture architecture) {
  for (const std::string& head : heads_of_task(task_of(architecture))) {
    add_once(config.modules_to_save, head);
  }
  return config;
}

}  // namespace diffllama
