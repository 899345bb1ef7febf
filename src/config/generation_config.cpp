#include "config/generation_config.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "config/generation_fields.h"
#include "config/json_fields.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

// Whether a field that is no option here asks for something all the same.
bool asks_for_something(const ForeignGenerationField& field, const json& value) {
  if (field.off.empty() || value.is_null()) return false;
  for (std::string_view rest = field.off; !rest.empty();) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    if (value == json::parse(rest.substr(0, end))) return false;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

void append(std::string& list, const std::string& item) {
  list += (list.empty() ? "" : ", ") + item;
}

// One warning of all that the file asks for and does not get.
void warn_of_other_fields(const JsonFields& fields, const WarningHandler& warn) {
  std::string unsupported, unknown;
  for (const auto& [name, value] : fields.object().items()) {
    const auto named = [&name = name](const auto& field) { return field.name == name; };
    if (std::ranges::any_of(generation_field_table(), named)) continue;
    const auto foreign = std::ranges::find_if(foreign_generation_fields(), named);
    if (foreign == foreign_generation_fields().end()) {
      append(unknown, json_excerpt(json(name)));
    } else if (asks_for_something(*foreign, value)) {
      append(unsupported, name + ": " + json_excerpt(value));
    }
  }
  std::string text;
  if (!unsupported.empty()) text = "not supported and ignored: " + unsupported;
  if (!unknown.empty()) text += (text.empty() ? "" : "; ") + ("unknown and ignored: " + unknown);
  if (!text.empty()) emit_warning(warn, fields.where() + ": " + text);
}

// A forced token that is suppressed too leaves none to choose from.
std::string problem_of_forced(const GenerationConfig& config, const char* field,
                              std::span<const std::int64_t> forced) {
  const auto suppressed = [&](std::int64_t id) {
    return std::ranges::find(config.suppress_tokens, id) != config.suppress_tokens.end();
  };
  if (forced.empty() || !std::ranges::all_of(forced, suppressed)) return {};
  return std::string(field) + ": expected a token that suppress_tokens does not rule out, got " +
         json_excerpt(json(std::vector<std::int64_t>(forced.begin(), forced.end())));
}

}  // namespace

std::string find_problem(const GenerationConfig& config) {
  for (const GenerationField& field : generation_field_table()) {
    if (std::string found = field.problem(config); !found.empty()) return found;
  }
  if (config.num_beams > 1 && config.num_return_sequences > config.num_beams) {
    return "num_return_sequences: expected at most num_beams " + number_text(config.num_beams) +
           ", got " + number_text(config.num_return_sequences);
  }
  if (config.num_return_sequences > 1 && !config.do_sample && config.num_beams == 1) {
    return "num_return_sequences: expected 1 without do_sample (greedy sequences are all equal), "
           "got " +
           number_text(config.num_return_sequences);
  }
  if (config.guidance_scale != 1 && config.num_beams > 1) {
    return "guidance_scale: expected 1 with num_beams above 1, got " +
           number_text(config.guidance_scale);
  }
  const auto& bos = config.forced_bos_token_id;
  for (const std::string& found :
       {bos ? problem_of_forced(config, "forced_bos_token_id", std::span(&*bos, 1)) : "",
        problem_of_forced(config, "forced_eos_token_id", config.forced_eos_token_ids)}) {
    if (!found.empty()) return found;
  }
  if (config.constraint && config.ignore_eos) {
    return "ignore_eos: expected false with a constraint, whose text must end, got true";
  }
  const auto null = [](const auto& processor) { return processor == nullptr; };
  if (std::ranges::any_of(config.logits_processors, null)) {
    return "logits_processors: expected processors, got a null pointer";
  }
  return {};
}

void read_generation_fields(const json& object, const std::string& where,
                            GenerationConfig& config) {
  const JsonFields fields(object, where);
  for (const GenerationField& field : generation_field_table()) field.read(fields, config);
  // Counts of new tokens win over lengths that count the prompt.
  if (fields.find("max_new_tokens") != nullptr) config.max_length.reset();
  if (fields.find("min_new_tokens") != nullptr) config.min_length.reset();
}

GenerationConfig parse_generation_config(std::string_view json_text, const std::string& where,
                                         const WarningHandler& warn) {
  const json document = parse_json(json_text, where);
  if (!document.is_object()) {
    throw FormatError(where + ": expected a JSON object, got " + json_excerpt(document));
  }
  GenerationConfig config;
  read_generation_fields(document, where, config);
  warn_of_other_fields(JsonFields(document, where), warn);
  if (const std::string found = find_problem(config); !found.empty()) {
    throw ConfigError(where + ": " + found);
  }
  return config;
}

void GenerationConfig::update(std::string_view json_text, const std::string& where) {
  const json document = parse_json(json_text, where);
  if (!document.is_object()) {
    throw FormatError(where + ": expected a JSON object, got " + json_excerpt(document));
  }
  read_generation_fields(document, where, *this);
}

void GenerationConfig::validate() const {
  if (const std::string problem = find_problem(*this); !problem.empty()) throw ConfigError(problem);
}

std::string GenerationConfig::to_json() const { return write_generation_config(*this); }

std::vector<GenerationOption> generation_options() {
  const GenerationConfig defaults;
  std::vector<GenerationOption> options;
  for (const GenerationField& field : generation_field_table()) {
    options.push_back({field.name, field.shape, field.help, field.write(defaults).dump()});
  }
  return options;
}

std::string write_generation_config(const GenerationConfig& config) {
  const GenerationConfig defaults;
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const GenerationField& field : generation_field_table()) {
    const json value = field.write(config);
    if (value != field.write(defaults)) object[field.name] = value;
  }
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace diffllama
