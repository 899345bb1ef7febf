#include "config/generation_config.h"

#include <cmath>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "config/json_fields.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxCount = std::numeric_limits<std::int32_t>::max();

// A null is as good as an absent field here.
template <class T>
void read_if_set(const JsonFields& fields, const char* field, T& value) {
  if (fields.find(field) != nullptr) fields.read(field, value);
}

std::vector<std::string> parse_stop_strings(const JsonFields& fields) {
  const json* found = fields.find("stop_strings");
  if (found == nullptr) return {};
  if (found->is_string()) return {found->get<std::string>()};
  std::vector<std::string> strings;
  if (!found->is_array()) fields.reject("stop_strings", "a string or a list of strings");
  for (const json& value : *found) {
    if (!value.is_string()) fields.reject("stop_strings", "a string or a list of strings");
    strings.push_back(value.get<std::string>());
  }
  return strings;
}

// Settings of transformers that change its result and that this engine lacks, with the values that
// switch them off.
void warn_of_missing_features(const JsonFields& fields, const WarningHandler& warn) {
  static const std::pair<const char*, json> off_values[] = {
      {"num_beams", 1},
      {"typical_p", 1.0},
      {"epsilon_cutoff", 0.0},
      {"eta_cutoff", 0.0},
      {"top_h", nullptr},
      {"bad_words_ids", nullptr},
      {"sequence_bias", nullptr},
      {"forced_bos_token_id", nullptr},
      {"forced_eos_token_id", nullptr},
      {"suppress_tokens", nullptr},
      {"begin_suppress_tokens", nullptr},
      {"exponential_decay_length_penalty", nullptr},
      {"guidance_scale", 1.0},
      {"penalty_alpha", 0.0},
      {"max_time", nullptr},
      {"token_healing", false},
      {"watermarking_config", nullptr},
  };
  for (const auto& [field, off] : off_values) {
    const json* value = fields.find(field);
    if (value == nullptr || *value == off) continue;
    emit_warning(warn, fields.where() + ": " + field + ": " + json_excerpt(*value) +
                           " is not supported and is ignored");
  }
}

std::string problem(const char* field, const std::string& expected, const std::string& found) {
  return std::string(field) + ": expected " + expected + ", got " + found;
}

std::string count_problem(const char* field, std::int64_t value, std::int64_t least) {
  if (value >= least && value <= kMaxCount) return {};
  return problem(field, "an integer from " + std::to_string(least) + " to 2147483647",
                 number_text(value));
}

std::string find_count_problem(const GenerationConfig& config) {
  const struct {
    const char* field;
    std::int64_t value;
    std::int64_t least;
  } counts[] = {
      {"max_new_tokens", config.max_new_tokens, 1},
      {"max_length", config.max_length.value_or(1), 1},
      {"min_new_tokens", config.min_new_tokens, 0},
      {"min_length", config.min_length.value_or(0), 0},
      {"top_k", config.top_k, 0},
      {"no_repeat_ngram_size", config.no_repeat_ngram_size, 0},
      {"num_return_sequences", config.num_return_sequences, 1},
  };
  for (const auto& [field, value, least] : counts) {
    if (std::string found = count_problem(field, value, least); !found.empty()) return found;
  }
  return {};
}

}  // namespace

std::string find_problem(const GenerationConfig& config) {
  if (std::string found = find_count_problem(config); !found.empty()) return found;
  if (!(std::isfinite(config.temperature) && config.temperature >= 0)) {
    return problem("temperature", "a finite number >= 0", number_text(config.temperature));
  }
  if (!(config.top_p >= 0 && config.top_p <= 1)) {
    return problem("top_p", "a number from 0 to 1", number_text(config.top_p));
  }
  if (!(config.min_p >= 0 && config.min_p <= 1)) {
    return problem("min_p", "a number from 0 to 1", number_text(config.min_p));
  }
  if (!(std::isfinite(config.repetition_penalty) && config.repetition_penalty > 0)) {
    return problem("repetition_penalty", "a finite number above 0",
                   number_text(config.repetition_penalty));
  }
  if (config.num_return_sequences > 1 && !config.do_sample) {
    return problem("num_return_sequences", "1 without do_sample (greedy sequences are all equal)",
                   number_text(config.num_return_sequences));
  }
  for (const std::string& text : config.stop_strings) {
    if (text.empty()) return problem("stop_strings", "strings that are not empty", "\"\"");
  }
  return {};
}

GenerationConfig parse_generation_config(std::string_view json_text, const std::string& where,
                                         const WarningHandler& warn) {
  const json document = parse_json(json_text, where);
  if (!document.is_object()) {
    throw FormatError(where + ": expected a JSON object, got " + json_excerpt(document));
  }
  const JsonFields fields(document, where);
  GenerationConfig config;
  read_if_set(fields, "max_new_tokens", config.max_new_tokens);
  read_if_set(fields, "min_new_tokens", config.min_new_tokens);
  read_if_set(fields, "max_length", config.max_length);
  read_if_set(fields, "min_length", config.min_length);
  read_if_set(fields, "do_sample", config.do_sample);
  read_if_set(fields, "temperature", config.temperature);
  read_if_set(fields, "top_k", config.top_k);
  read_if_set(fields, "top_p", config.top_p);
  read_if_set(fields, "min_p", config.min_p);
  read_if_set(fields, "repetition_penalty", config.repetition_penalty);
  read_if_set(fields, "no_repeat_ngram_size", config.no_repeat_ngram_size);
  read_if_set(fields, "num_return_sequences", config.num_return_sequences);
  fields.read_integers("eos_token_id", config.eos_token_ids);
  fields.read("pad_token_id", config.pad_token_id);
  config.stop_strings = parse_stop_strings(fields);
  warn_of_missing_features(fields, warn);
  if (const std::string found = find_problem(config); !found.empty()) {
    throw ConfigError(where + ": " + found);
  }
  // max_new_tokens and min_new_tokens win over the lengths that count the prompt.
  if (fields.find("max_new_tokens") != nullptr) config.max_length.reset();
  if (fields.find("min_new_tokens") != nullptr) config.min_length.reset();
  return config;
}

}  // namespace diffllama
