#include "config/rope_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "config/names.h"
#include "config/warnings.h"

namespace diffllama {
namespace {

using nlohmann::json;

// The keys of a type beside rope_type, type, rope_theta and partial_rotary_factor.
std::span<const std::string_view> keys_of(RopeType type) {
  static constexpr std::string_view kFactor[] = {"factor"};
  static constexpr std::string_view kYarn[] = {
      "factor",           "original_max_position_embeddings",
      "attention_factor", "beta_fast",
      "beta_slow",        "mscale",
      "mscale_all_dim",   "truncate"};
  static constexpr std::string_view kLongrope[] = {"factor", "original_max_position_embeddings",
                                                   "attention_factor", "short_factor",
                                                   "long_factor"};
  static constexpr std::string_view kLlama3[] = {"factor", "original_max_position_embeddings",
                                                 "low_freq_factor", "high_freq_factor"};
  switch (type) {
    case RopeType::linear:
    case RopeType::dynamic:
      return kFactor;
    case RopeType::yarn:
      return kYarn;
    case RopeType::longrope:
      return kLongrope;
    case RopeType::llama3:
      return kLlama3;
    case RopeType::default_rope:
      break;
  }
  return {};
}

bool uses_original_length(RopeType type) {
  return type == RopeType::yarn || type == RopeType::longrope || type == RopeType::llama3;
}

std::string rope_needs(RopeType type, const std::string& what) {
  return what + " (rope_type \"" + std::string(rope_type_name(type)) + "\" needs it)";
}

RopeType parse_type(const JsonFields& rope) {
  for (const char* field : {"rope_type", "type"}) {
    if (const auto name = rope.text(field)) {
      const auto type = find_rope_type(*name);
      if (!type) rope.reject(field, rope_type_names());
      return *type;
    }
  }
  return RopeType::default_rope;
}

void warn_of_unknown_keys(const JsonFields& rope, RopeType type, const WarningHandler& warn) {
  const auto known = keys_of(type);
  for (const auto& [key, value] : rope.object().items()) {
    if (key == "rope_type" || key == "type" || key == "rope_theta" ||
        key == "partial_rotary_factor" ||
        std::find(known.begin(), known.end(), key) != known.end()) {
      continue;
    }
    emit_warning(warn, rope.where() + ": " + json_excerpt(key) + " is not a field of rope_type \"" +
                           std::string(rope_type_name(type)) + "\" and is ignored");
  }
}

// The default type rotates the whole head whatever the file says, as transformers does.
void check_partial_rotary_factor(const JsonFields& config, const JsonFields& rope, RopeType type) {
  const JsonFields& owner = rope.find("partial_rotary_factor") != nullptr ? rope : config;
  std::optional<double> factor;
  owner.read("partial_rotary_factor", factor);
  if (factor && *factor != 1.0 && type != RopeType::default_rope) {
    owner.reject("partial_rotary_factor",
                 "1 with rope_type \"" + std::string(rope_type_name(type)) + "\"");
  }
}

// A count that some files write as 8192.0.
void read_length(const JsonFields& fields, std::optional<std::int64_t>& value) {
  const char* field = "original_max_position_embeddings";
  const json* found = fields.find(field);
  if (found != nullptr && found->is_number_float()) {
    const double number = found->get<double>();
    if (number != std::floor(number) || std::abs(number) > 1e15) fields.reject(field, "an integer");
    value = static_cast<std::int64_t>(number);
  } else if (found != nullptr) {
    fields.read(field, value);
  }
}

std::vector<double> read_factors(const JsonFields& rope, const char* field) {
  const json* found = rope.find(field);
  if (found == nullptr) {
    rope.reject(field, rope_needs(RopeType::longrope, "a list of numbers"));
  }
  std::vector<double> factors;
  if (!found->is_array()) rope.reject(field, "a list of numbers");
  for (const json& value : *found) {
    if (!value.is_number()) rope.reject(field, "a list of numbers");
    factors.push_back(value.get<double>());
  }
  return factors;
}

void read_yarn(const JsonFields& rope, RopeParameters& parameters) {
  rope.read("attention_factor", parameters.attention_factor);
  rope.read("beta_fast", parameters.beta_fast);
  rope.read("beta_slow", parameters.beta_slow);
  rope.read("mscale", parameters.mscale);
  rope.read("mscale_all_dim", parameters.mscale_all_dim);
  if (rope.contains("truncate")) {  // null is false there, where an absent field is true
    bool truncate = false;
    if (rope.find("truncate") != nullptr) rope.read("truncate", truncate);
    parameters.truncate = truncate;
  }
}

void read_type_fields(const JsonFields& rope, RopeParameters& parameters) {
  const RopeType type = parameters.type;
  if (type == RopeType::default_rope) return;
  const bool may_be_null = type == RopeType::yarn;
  const bool may_be_absent = type == RopeType::longrope;
  if (!may_be_absent && (may_be_null ? !rope.contains("factor") : rope.find("factor") == nullptr)) {
    rope.reject("factor", rope_needs(type, may_be_null ? "a number, or null" : "a number"));
  }
  rope.read("factor", parameters.factor);
  if (type == RopeType::yarn) read_yarn(rope, parameters);
  if (type == RopeType::longrope) {
    rope.read("attention_factor", parameters.attention_factor);
    parameters.short_factor = read_factors(rope, "short_factor");
    parameters.long_factor = read_factors(rope, "long_factor");
  }
  if (type == RopeType::llama3) {
    for (const char* field : {"low_freq_factor", "high_freq_factor"}) {
      if (rope.find(field) == nullptr) rope.reject(field, rope_needs(type, "a number"));
    }
    rope.read("low_freq_factor", parameters.low_freq_factor);
    rope.read("high_freq_factor", parameters.high_freq_factor);
  }
}

template <class T>
void put(json& object, const char* field, const std::optional<T>& value) {
  if (value) object[field] = *value;
}

}  // namespace

RopeParameters parse_rope(const JsonFields& config, const WarningHandler& warn) {
  static const json none = json::object();
  const char* style = "rope_scaling";  // wins over rope_parameters unless it is empty
  const json* object = config.find_object(style);
  if (object == nullptr) {
    style = "rope_parameters";
    object = config.find_object(style);
  }
  const JsonFields rope(object == nullptr ? none : *object, config.where() + ": " + style);

  RopeParameters parameters;
  parameters.type = parse_type(rope);
  const JsonFields& theta_owner = rope.find("rope_theta") != nullptr ? rope : config;
  if (theta_owner.find("rope_theta") != nullptr) {
    theta_owner.read("rope_theta", parameters.theta);
  }
  warn_of_unknown_keys(rope, parameters.type, warn);
  check_partial_rotary_factor(config, rope, parameters.type);
  read_type_fields(rope, parameters);
  if (uses_original_length(parameters.type)) {
    // The outer one wins where there are two (Phi-3's files have it there).
    read_length(rope, parameters.original_max_position_embeddings);
    read_length(config, parameters.original_max_position_embeddings);
  }
  return parameters;
}

json rope_to_json(const ModelConfig& config) {
  const RopeParameters& rope = config.rope;
  json object = {{"rope_theta", rope.theta}};
  if (!rope.frequency_divisors.empty()) {
    object["rope_type"] = rope_type_name(RopeType::longrope);
    object["short_factor"] = rope.frequency_divisors;
    object["long_factor"] = rope.frequency_divisors;
    object["factor"] = 1.0;
    object["attention_factor"] = 1.0;
    object["original_max_position_embeddings"] = config.max_position_embeddings;
    return object;
  }
  object["rope_type"] = rope_type_name(rope.type);
  if (rope.type == RopeType::default_rope) return object;
  put(object, "factor", rope.factor);
  if (rope.type == RopeType::yarn && !rope.factor) {
    // What null means; transformers before 5 asks for a number.
    const std::int64_t length = config.max_position_embeddings;
    object["factor"] = static_cast<double>(length) /
                       static_cast<double>(rope.original_max_position_embeddings.value_or(length));
  }
  if (uses_original_length(rope.type)) {
    put(object, "original_max_position_embeddings", rope.original_max_position_embeddings);
  }
  if (rope.type == RopeType::llama3 && !rope.original_max_position_embeddings) {
    // transformers before 5 asks for it.
    object["original_max_position_embeddings"] = config.max_position_embeddings;
  }
  if (rope.type == RopeType::yarn || rope.type == RopeType::longrope) {
    put(object, "attention_factor", rope.attention_factor);
  }
  if (rope.type == RopeType::yarn) {
    put(object, "beta_fast", rope.beta_fast);
    put(object, "beta_slow", rope.beta_slow);
    put(object, "mscale", rope.mscale);
    put(object, "mscale_all_dim", rope.mscale_all_dim);
    put(object, "truncate", rope.truncate);
  }
  if (rope.type == RopeType::longrope) {
    object["short_factor"] = rope.short_factor;
    object["long_factor"] = rope.long_factor;
  }
  if (rope.type == RopeType::llama3) {
    put(object, "low_freq_factor", rope.low_freq_factor);
    put(object, "high_freq_factor", rope.high_freq_factor);
  }
  return object;
}

namespace {

// Checks of the numbers of one RopeParameters; messages start with "WHERE: rope_parameters".
class RopeValidator {
 public:
  RopeValidator(const ModelConfig& config, const std::string& where, const WarningHandler& warn)
      : config_(config), rope_(config.rope), where_(where + ": rope_parameters"), warn_(warn) {}

  void run() const {
    require(std::isfinite(rope_.theta) && rope_.theta > 0, "rope_theta", "a number above 0",
            rope_.theta);
    check_list("frequency_divisors", rope_.frequency_divisors, !rope_.frequency_divisors.empty());
    check_factor();
    check_original_length();
    if (rope_.type == RopeType::dynamic && config_.head_dim < 4) {
      reject_field(where_, "rope_type", "a head_dim of at least 4 with \"dynamic\"",
                   "head_dim " + std::to_string(config_.head_dim));
    }
    if (rope_.type == RopeType::yarn) check_yarn();
    if (rope_.type == RopeType::longrope) check_longrope();
    if (rope_.type == RopeType::llama3) check_llama3();
  }

 private:
  void require(bool ok, const char* field, const std::string& expected, double found) const {
    if (!ok) reject_field(where_, field, expected, number_text(found));
  }
  void warn(const std::string& text) const { emit_warning(warn_, where_ + ": " + text); }

  void check_list(const char* field, const std::vector<double>& values, bool required) const {
    if (!required) return;
    const auto half = static_cast<std::size_t>(config_.head_dim / 2);
    if (values.size() != half) {
      reject_field(where_, field, std::to_string(half) + " values (head_dim / 2)",
                   std::to_string(values.size()));
    }
    for (const double value : values) {
      require(std::isfinite(value) && value > 0, field, "numbers above 0", value);
    }
  }
  void check_factor() const {
    const bool optional = rope_.type == RopeType::default_rope || rope_.type == RopeType::yarn ||
                          rope_.type == RopeType::longrope;
    if (!rope_.factor) {
      if (optional) return;
      reject_field(where_, "factor", rope_needs(rope_.type, "a number above 0"), "none");
    }
    require(std::isfinite(*rope_.factor) && *rope_.factor > 0, "factor", "a number above 0",
            *rope_.factor);
    if (*rope_.factor < 1 && rope_.type != RopeType::default_rope) {
      warn("factor: " + number_text(*rope_.factor) + " is below 1");
    }
  }
  void check_original_length() const {
    if (!rope_.original_max_position_embeddings) return;
    const std::int64_t length = *rope_.original_max_position_embeddings;
    if (length < 1 || length > std::numeric_limits<std::int32_t>::max()) {
      reject_field(where_, "original_max_position_embeddings", "an integer from 1 to 2147483647",
                   number_text(length));
    }
  }
  void check_attention_factor() const {
    if (!rope_.attention_factor) return;
    require(std::isfinite(*rope_.attention_factor), "attention_factor", "a finite number",
            *rope_.attention_factor);
    if (*rope_.attention_factor < 0) {
      warn("attention_factor: " + number_text(*rope_.attention_factor) + " is below 0");
    }
  }
  void check_yarn() const {
    check_attention_factor();
    require(rope_.theta != 1.0, "rope_theta", "a number above 0 that is not 1 with \"yarn\"",
            rope_.theta);
    const auto at_least_zero = [&](const char* field, const std::optional<double>& value) {
      if (value) require(std::isfinite(*value) && *value >= 0, field, "a number >= 0", *value);
    };
    at_least_zero("beta_fast", rope_.beta_fast);
    at_least_zero("beta_slow", rope_.beta_slow);
    at_least_zero("mscale", rope_.mscale);
    at_least_zero("mscale_all_dim", rope_.mscale_all_dim);
  }
  void check_longrope() const {
    check_attention_factor();
    check_list("short_factor", rope_.short_factor, true);
    check_list("long_factor", rope_.long_factor, true);
    const std::int64_t original =
        rope_.original_max_position_embeddings.value_or(config_.max_position_embeddings);
    if (original == 1 && !rope_.attention_factor) {  // its scaling divides by log(original)
      reject_field(where_, "original_max_position_embeddings",
                   "at least 2 with \"longrope\" without attention_factor", "1");
    }
  }
  void check_llama3() const {
    for (const auto& [field, value] : {std::pair{"low_freq_factor", rope_.low_freq_factor},
                                       std::pair{"high_freq_factor", rope_.high_freq_factor}}) {
      if (!value) reject_field(where_, field, rope_needs(rope_.type, "a number above 0"), "none");
      require(std::isfinite(*value) && *value > 0, field, "a number above 0", *value);
    }
    if (*rope_.high_freq_factor <= *rope_.low_freq_factor) {
      warn("high_freq_factor: " + number_text(*rope_.high_freq_factor) +
           " is not above low_freq_factor " + number_text(*rope_.low_freq_factor));
    }
  }

  const ModelConfig& config_;
  const RopeParameters& rope_;
  std::string where_;
  const WarningHandler& warn_;
};

}  // namespace

void validate_rope(const ModelConfig& config, const std::string& where,
                   const WarningHandler& warn) {
  RopeValidator(config, where, warn).run();
}

}  // namespace diffllama
