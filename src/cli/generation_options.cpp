#include "cli/generation_options.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "cli/common.h"
#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

constexpr const char* kSamplingOptions[] = {"top_k", "top_p",     "min_p",          "seed",
                                            "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"};

// The JSON that a text of the command line stands for: a number, or else the text itself, which the
// field then refuses by its name.
nlohmann::json value_of(const std::string& text) {
  try {
    return parse_json(text, "");
  } catch (const FormatError&) {
    return text;
  }
}

// "5,6" and "[5,6]" are the same.
nlohmann::json integers_of(const std::vector<std::string>& texts) {
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& text : texts) {
    const nlohmann::json list = value_of(text.starts_with('[') ? text : "[" + text + "]");
    if (!list.is_array()) return text;
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

// A list of strings in JSON is one; any other text stands for itself.
nlohmann::json texts_of(const std::vector<std::string>& texts) {
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& text : texts) {
    const nlohmann::json list = text.starts_with('[') ? value_of(text) : nlohmann::json(text);
    const auto is_text = [](const nlohmann::json& each) { return each.is_string(); };
    if (list.is_array() && !list.empty() && std::ranges::all_of(list, is_text)) {
      all.insert(all.end(), list.begin(), list.end());
    } else {
      all.push_back(text);
    }
  }
  return all;
}

// "--max-new-tokens" of max_new_tokens.
std::string option_name(const std::string& field) {
  std::string name = "--" + field;
  std::ranges::replace(name, '_', '-');
  return field == "stop_strings" ? "--stop," + name : name;
}

std::string option_help(const GenerationOption& option) {
  const nlohmann::json normal = nlohmann::json::parse(option.default_value);
  if (normal.is_null() || normal.is_array() || normal.is_boolean()) return option.help;
  return option.help + " (" + option.default_value + ")";
}

void add_option(CLI::App& command, nlohmann::json& given, const GenerationOption& field) {
  using Texts = std::vector<std::string>;
  const std::string name = option_name(field.name);
  const std::string help = option_help(field);
  const auto set = [&given, key = field.name](nlohmann::json value) {
    given[key] = std::move(value);
  };
  switch (field.shape) {
    case OptionShape::flag:
      command.add_flag_function(
          name, [set](std::int64_t count) { set(count > 0); }, help);
      break;
    case OptionShape::value:
    case OptionShape::json:
      command.add_option_function<std::string>(
          name, [set](const std::string& text) { set(value_of(text)); }, help);
      break;
    case OptionShape::integers:
      command
          .add_option_function<Texts>(
              name, [set](const Texts& texts) { set(integers_of(texts)); }, help)
          ->allow_extra_args(false);
      break;
    case OptionShape::texts:
      command
          .add_option_function<Texts>(
              name, [set](const Texts& texts) { set(texts_of(texts)); },
              help + "; may be given several times, or as a list in JSON")
          ->allow_extra_args(false);
      break;
  }
}

}  // namespace

void add_generation_options(CLI::App& command, nlohmann::json& given,
                            std::span<const std::string_view> without) {
  for (const GenerationOption& field : generation_options()) {
    if (std::ranges::find(without, field.name) == without.end()) add_option(command, given, field);
  }
}

void set_generation_options(const nlohmann::json& given, const std::string& command,
                            GenerationConfig& config) {
  const auto checked = [](const auto& call) {
    try {
      call();
    } catch (const ConfigError& error) {
      throw CLI::ValidationError(error.what(), CLI::ExitCodes::ValidationError);
    }
  };
  checked([&] {
    config.update(given.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), command);
  });
  // A temperature says whether to draw, unless that is said too.
  if (given.contains("temperature") && !given.contains("do_sample")) {
    config.do_sample = config.temperature > 0;
  }
  checked([&] { config.validate(); });
  const auto of_sampling = [&](const char* name) { return given.contains(name); };
  if (!(config.do_sample && config.temperature > 0) &&
      std::ranges::any_of(kSamplingOptions, of_sampling)) {
    print_warning(
        "--top-k, --top-p, --min-p, --top-h, --typical-p, --epsilon-cutoff, --eta-cutoff and "
        "--seed change nothing without --do-sample or a --temperature above 0");
  }
}

void check_given_eos(const nlohmann::json& given, const GenerationConfig& config,
                     std::int64_t vocab_size) {
  if (!given.contains("eos_token_id")) return;
  for (const std::int64_t id : config.eos_token_ids) {
    if (id >= 0 && id < vocab_size) continue;
    throw CLI::ValidationError("eos_token_id: expected ids 0.." + std::to_string(vocab_size - 1) +
                                   " of the model's vocabulary, got " + std::to_string(id),
                               CLI::ExitCodes::ValidationError);
  }
}

}  // namespace diffllama::cli
