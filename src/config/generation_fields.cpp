#include "config/generation_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

namespace diffllama {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxCount = std::numeric_limits<std::int32_t>::max();

/// What a value must be: any integer or number in a range, or anything.
struct Integers {
  std::int64_t low = 0;
  std::int64_t high = kMaxCount;

  bool holds(std::int64_t value) const { return value >= low && value <= high; }
  std::string text() const {
    return "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  }
};
struct Numbers {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool above_low = false;

  bool holds(double value) const {
    return (above_low ? value > low : value >= low) && value <= high && std::isfinite(value);
  }
  std::string text() const {
    const std::string from = shown(low);
    if (std::isinf(high)) {
      if (std::isinf(low)) return "a finite number";
      return std::string("a finite number ") + (above_low ? "above " : ">= ") + from;
    }
    return above_low ? "a number above " + from + " and at most " + shown(high)
                     : "a number from " + from + " to " + shown(high);
  }

 private:
  static std::string shown(double value) {
    return value == std::floor(value) ? number_text(static_cast<std::int64_t>(value))
                                      : number_text(value);
  }
};
struct Anything {};
struct NotEmpty {};

std::string problem_text(const std::string& field, const std::string& expected,
                         const std::string& found) {
  return field + ": expected " + expected + ", got " + found;
}

template <class T>
concept Range = requires(T range) {
  range.text();
};

template <Range R, class T>
std::string find_problem(const std::string& field, const R& range, T value) {
  return range.holds(value) ? std::string() : problem_text(field, range.text(), number_text(value));
}
template <Range R, class T>
std::string find_problem(const std::string& field, const R& range, const std::optional<T>& value) {
  return value ? find_problem(field, range, *value) : std::string();
}
template <class T>
std::string find_problem(const std::string& /*field*/, Anything /*limits*/, const T& /*value*/) {
  return {};
}
std::string find_problem(const std::string& field, NotEmpty /*limits*/,
                         const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (text.empty()) return problem_text(field, "strings that are not empty", "\"\"");
  }
  return {};
}

// Token ids, of which there are no negative ones.
struct TokenIds {};

std::string find_problem(const std::string& field, TokenIds /*limits*/,
                         const std::vector<std::int64_t>& ids) {
  for (const std::int64_t id : ids) {
    if (std::string found = find_problem(field, Integers{}, id); !found.empty()) return found;
  }
  return {};
}
std::string find_problem(const std::string& field, TokenIds limits,
                         const std::optional<std::int64_t>& id) {
  return id ? find_problem(field, limits, std::vector{*id}) : std::string();
}
std::string find_problem(const std::string& field, TokenIds limits,
                         const std::vector<std::vector<std::int64_t>>& lists) {
  for (const std::vector<std::int64_t>& ids : lists) {
    if (ids.empty()) return problem_text(field, "lists that are not empty", "[]");
    if (std::string found = find_problem(field, limits, ids); !found.empty()) return found;
  }
  return {};
}
// Minus infinity bans a token.
std::string bias_problem(const std::string& field, double bias) {
  if (std::isfinite(bias) || bias == -std::numeric_limits<double>::infinity()) return {};
  return problem_text(field, "a bias that is finite or minus infinity", number_text(bias));
}
std::string find_problem(const std::string& field, TokenIds limits,
                         const std::vector<SequenceBias>& biases) {
  for (const auto& [ids, bias] : biases) {
    if (std::string found = find_problem(field, limits, std::vector{ids}); !found.empty()) {
      return found;
    }
    if (std::string found = bias_problem(field, bias); !found.empty()) return found;
  }
  return {};
}
std::string find_problem(const std::string& field, TokenIds limits,
                         const std::vector<std::pair<std::int64_t, double>>& biases) {
  for (const auto& [id, bias] : biases) {
    if (std::string found = find_problem(field, limits, std::vector{id}); !found.empty()) {
      return found;
    }
    if (std::string found = bias_problem(field, bias); !found.empty()) return found;
  }
  return {};
}

constexpr Numbers kAbove0{.low = 0, .above_low = true};

struct Valid {};

std::string find_problem(const std::string& field, Valid /*limits*/,
                         const std::optional<ExponentialDecay>& decay) {
  if (!decay) return {};
  if (std::string found = find_problem(field, Integers{}, decay->start); !found.empty()) {
    return found;
  }
  return find_problem(field, kAbove0, decay->factor);
}
std::string find_problem(const std::string& field, Valid /*limits*/,
                         const std::optional<WatermarkingConfig>& mark) {
  if (!mark) return {};
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!(mark->greenlist_ratio > 0 && mark->greenlist_ratio < 1)) {
    return problem_text(field + ".greenlist_ratio", "a number above 0 and below 1",
                        number_text(mark->greenlist_ratio));
  }
  for (std::string found :
       {find_problem(field + ".bias", Numbers{.low = -kInfinity}, mark->bias),
        find_problem(field + ".hashing_key", Integers{}, mark->hashing_key),
        find_problem(field + ".context_width", Integers{.low = 1}, mark->context_width)}) {
    if (!found.empty()) return found;
  }
  return {};
}

// Readers of a field that is there and not null.

template <class T>
void read_value(const JsonFields& fields, const char* name, T& value) {
  fields.read(name, value);
}
void read_value(const JsonFields& fields, const char* name, std::uint64_t& value) {
  const json& found = *fields.find(name);
  const bool negative =
      found.is_number_integer() && !found.is_number_unsigned() && found.get<std::int64_t>() < 0;
  if (!found.is_number_integer() || negative) {
    fields.reject(name, "an integer from 0 to 18446744073709551615");
  }
  value = found.get<std::uint64_t>();
}
void read_value(const JsonFields& fields, const char* name, std::vector<std::int64_t>& value) {
  fields.read_integers(name, value);
}
void read_value(const JsonFields& fields, const char* name, std::vector<std::string>& value) {
  const json& found = *fields.find(name);
  if (found.is_string()) {
    value = {found.get<std::string>()};
    return;
  }
  if (!found.is_array()) fields.reject(name, "a string or a list of strings");
  std::vector<std::string> texts;
  for (const json& text : found) {
    if (!text.is_string()) fields.reject(name, "a string or a list of strings");
    texts.push_back(text.get<std::string>());
  }
  value = std::move(texts);
}

bool is_list_of_ids(const json& value) {
  return value.is_array() &&
         std::ranges::all_of(value, [](const json& id) { return id.is_number_integer(); });
}
void read_value(const JsonFields& fields, const char* name,
                std::vector<std::vector<std::int64_t>>& value) {
  const json& found = *fields.find(name);
  if (!found.is_array() || !std::ranges::all_of(found, is_list_of_ids)) {
    fields.reject(name, "a list of lists of token ids");
  }
  value = found.get<std::vector<std::vector<std::int64_t>>>();
}
void read_value(const JsonFields& fields, const char* name, std::vector<SequenceBias>& value) {
  std::vector<SequenceBias> biases;
  const json& found = *fields.find(name);
  const auto is_pair = [](const json& pair) {
    return pair.is_array() && pair.size() == 2 && is_list_of_ids(pair[0]) && pair[1].is_number();
  };
  if (!found.is_array() || !std::ranges::all_of(found, is_pair)) {
    fields.reject(name, "a list of [[id, ...], bias]");
  }
  for (const json& pair : found) {
    biases.push_back({.ids = pair[0].get<std::vector<std::int64_t>>(), .bias = pair[1]});
  }
  value = std::move(biases);
}
// {"15": -1.5} as OpenAI's, [[15, -1.5], [16, false]] as llama.cpp's; false bans.
void read_value(const JsonFields& fields, const char* name,
                std::vector<std::pair<std::int64_t, double>>& value) {
  constexpr const char* kExpected = "an object of token ids and biases, or a list of [id, bias]";
  std::vector<std::pair<std::int64_t, double>> biases;
  const json& found = *fields.find(name);
  const auto add = [&](std::int64_t id, const json& bias) {
    if (!bias.is_number() && bias != false) fields.reject(name, kExpected);
    biases.emplace_back(
        id, bias.is_number() ? bias.get<double>() : -std::numeric_limits<double>::infinity());
  };
  if (!found.is_structured()) fields.reject(name, kExpected);
  for (const auto& [key, item] : found.items()) {
    if (found.is_object()) {
      std::int64_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size()) fields.reject(name, kExpected);
      add(id, item);
    } else {
      if (!item.is_array() || item.size() != 2 || !item[0].is_number_integer()) {
        fields.reject(name, kExpected);
      }
      add(item[0].get<std::int64_t>(), item[1]);
    }
  }
  value = std::move(biases);
}
void read_value(const JsonFields& fields, const char* name,
                std::optional<ExponentialDecay>& value) {
  const json& found = *fields.find(name);
  if (!found.is_array() || found.size() != 2 || !found[0].is_number_integer() ||
      !found[1].is_number()) {
    fields.reject(name, "a list of a count of tokens and a factor");
  }
  value = {.start = found[0].get<std::int64_t>(), .factor = found[1].get<double>()};
}
constexpr std::pair<WatermarkingConfig::SeedingScheme, const char*> kSeedingSchemes[] = {
    {WatermarkingConfig::SeedingScheme::lefthash, "lefthash"},
    {WatermarkingConfig::SeedingScheme::selfhash, "selfhash"}};

void read_value(const JsonFields& fields, const char* name,
                std::optional<WatermarkingConfig>& value) {
  const json& found = *fields.find(name);
  if (!found.is_object()) fields.reject(name, "an object");
  const JsonFields members(found, fields.where() + ": " + name);
  WatermarkingConfig mark;
  members.read("greenlist_ratio", mark.greenlist_ratio);
  members.read("bias", mark.bias);
  members.read("hashing_key", mark.hashing_key);
  members.read("context_width", mark.context_width);
  for (const auto& [key, member] : found.items()) {
    if (key == "seeding_scheme") {
      const auto named = [&member = member](const auto& scheme) { return member == scheme.second; };
      const auto scheme = std::ranges::find_if(kSeedingSchemes, named);
      if (scheme == std::end(kSeedingSchemes)) {
        members.reject("seeding_scheme", "lefthash or selfhash");
      }
      mark.seeding_scheme = scheme->first;
    } else if (key != "greenlist_ratio" && key != "bias" && key != "hashing_key" &&
               key != "context_width") {
      members.reject(key.c_str(), "a field of a green list's watermark");
    }
  }
  value = mark;
}

// false, true or "never".
void read_value(const JsonFields& fields, const char* name, EarlyStopping& value) {
  const json& found = *fields.find(name);
  if (found.is_boolean()) {
    value = found.get<bool>() ? EarlyStopping::yes : EarlyStopping::no;
  } else if (found == "never") {
    value = EarlyStopping::never;
  } else {
    fields.reject(name, "true, false or never");
  }
}

template <class T>
json written(const T& value) {
  return value;
}
json written(EarlyStopping value) {
  return value == EarlyStopping::never ? json("never") : json(value == EarlyStopping::yes);
}
json written(const SequenceBias& value) { return json::array({value.ids, value.bias}); }
json written(const std::vector<SequenceBias>& value) {
  json list = json::array();
  for (const SequenceBias& bias : value) list.push_back(written(bias));
  return list;
}
json written(const std::vector<std::pair<std::int64_t, double>>& value) {
  json list = json::array();
  for (const auto& [id, bias] : value) {
    list.push_back({id, std::isfinite(bias) ? json(bias) : json(false)});
  }
  return list;
}
json written(const ExponentialDecay& value) { return json::array({value.start, value.factor}); }
json written(const WatermarkingConfig& value) {
  const bool left = value.seeding_scheme == WatermarkingConfig::SeedingScheme::lefthash;
  return {{"greenlist_ratio", value.greenlist_ratio},
          {"bias", value.bias},
          {"hashing_key", value.hashing_key},
          {"seeding_scheme", kSeedingSchemes[left ? 0 : 1].second},
          {"context_width", value.context_width}};
}
template <class T>
json written(const std::optional<T>& value) {
  return value ? written(*value) : json();
}

class Table {
 public:
  template <class Value, class Limits>
  void add(const char* name, Value GenerationConfig::*member, const Limits& limits,
           OptionShape shape, const char* help) {
    GenerationField field;
    field.name = name;
    field.shape = shape;
    field.help = help;
    field.read = [name, member](const JsonFields& object, GenerationConfig& config) {
      if (object.find(name) != nullptr) read_value(object, name, config.*member);
    };
    field.write = [member](const GenerationConfig& config) { return written(config.*member); };
    field.problem = [name, member, limits](const GenerationConfig& config) {
      return find_problem(name, limits, config.*member);
    };
    fields.push_back(std::move(field));
  }

  std::vector<GenerationField> fields;
};

constexpr Integers kAtLeast0{};
constexpr Integers kAtLeast1{.low = 1};
// Each sequence has a cache: many more would end in an allocation that fails and names no field.
constexpr Integers kSequences{.low = 1, .high = 65'536};
constexpr Integers kBeams{.low = 1, .high = 1024};
constexpr Numbers kShare{.low = 0, .high = 1};
constexpr Numbers kShareAbove0{.low = 0, .high = 1, .above_low = true};
constexpr Numbers kFinite{.low = -std::numeric_limits<double>::infinity()};

void add_length(Table& table) {
  using enum OptionShape;
  using Config = GenerationConfig;
  table.add("max_new_tokens", &Config::max_new_tokens, kAtLeast1, value,
            "Most new tokens of a sequence");
  table.add("max_length", &Config::max_length, kAtLeast1, value,
            "Most tokens of a sequence, its prompt included; not with max_new_tokens");
  table.add("min_new_tokens", &Config::min_new_tokens, kAtLeast0, value,
            "No EOS before as many new tokens");
  table.add("min_length", &Config::min_length, kAtLeast0, value,
            "No EOS before as many tokens, the prompt included; not with min_new_tokens");
  table.add("max_time", &Config::max_time, kAbove0, value,
            "Most seconds: the first token past them is the last");
  table.add("eos_token_id", &Config::eos_token_ids, Anything{}, integers,
            "Tokens that end a sequence; none: the model's");
  table.add("pad_token_id", &Config::pad_token_id, Anything{}, value,
            "Kept for those who read it: nothing is padded here");
  table.add("ignore_eos", &Config::ignore_eos, Anything{}, flag, "Go on after EOS");
  table.add("stop_strings", &Config::stop_strings, NotEmpty{}, texts,
            "Stop at this string, which is not part of the text");
}

void add_penalties(Table& table) {
  using enum OptionShape;
  using Config = GenerationConfig;
  table.add("guidance_scale", &Config::guidance_scale, kFinite, value,
            "Above 1: away from what the model says after the negative prompt; 1: off");
  table.add("negative_prompt_ids", &Config::negative_prompt_ids, TokenIds{}, integers,
            "The negative prompt; none: the prompt's last token");
  table.add("sequence_bias", &Config::sequence_bias, TokenIds{}, json,
            "[[[ID, ...], BIAS], ...]: added to the last token's score after the others");
  table.add("logit_bias", &Config::logit_bias, TokenIds{}, json,
            "{\"ID\": BIAS} or [[ID, BIAS], ...]: added to tokens' scores; false bans");
  table.add("repetition_penalty", &Config::repetition_penalty, kAbove0, value,
            "Above 1: tokens seen before, in the prompt too, become less likely; 1: off");
  table.add("presence_penalty", &Config::presence_penalty, kFinite, value,
            "Taken off the score of tokens that were generated before; 0: off");
  table.add("frequency_penalty", &Config::frequency_penalty, kFinite, value,
            "The same for each time that they were generated; 0: off");
  table.add("no_repeat_ngram_size", &Config::no_repeat_ngram_size, kAtLeast0, value,
            "No run of as many tokens comes twice; 0: off");
  table.add("bad_words_ids", &Config::bad_words_ids, TokenIds{}, json,
            "[[ID, ...], ...]: runs of tokens that must not come");
  table.add("forced_bos_token_id", &Config::forced_bos_token_id, TokenIds{}, value,
            "The token after a prompt of one token");
  table.add("forced_eos_token_id", &Config::forced_eos_token_ids, TokenIds{}, integers,
            "The last token of a sequence of full length");
  table.add("exponential_decay_length_penalty", &Config::exponential_decay_length_penalty, Valid{},
            json, "[START, FACTOR]: past START new tokens EOS becomes ever likelier");
  table.add("suppress_tokens", &Config::suppress_tokens, TokenIds{}, integers,
            "Tokens that must not come");
  table.add("begin_suppress_tokens", &Config::begin_suppress_tokens, TokenIds{}, integers,
            "Tokens that must not come first");
}

void add_sampling(Table& table) {
  using enum OptionShape;
  using Config = GenerationConfig;
  table.add("do_sample", &Config::do_sample, Anything{}, flag,
            "Draw tokens instead of taking the likeliest");
  table.add("temperature", &Config::temperature, Numbers{}, value,
            "Above 0: draw tokens, from logits divided by it; 0: greedy");
  table.add("top_h", &Config::top_h, kShareAbove0, value,
            "Draw from the likeliest tokens that make up this share of the entropy");
  table.add("top_k", &Config::top_k, Integers{.low = -1}, value,
            "Draw from the K likeliest tokens; 0 or -1: off");
  table.add("top_p", &Config::top_p, kShare, value,
            "Draw from the likeliest tokens that make up this probability; 1: off");
  table.add("min_p", &Config::min_p, kShare, value,
            "Draw from tokens this likely in proportion to the likeliest; 0: off");
  table.add(
      "typical_p", &Config::typical_p, kShareAbove0, value,
      "Draw from the tokens of about the expected information, up to this probability; 1: off");
  table.add("epsilon_cutoff", &Config::epsilon_cutoff, kShare, value,
            "Draw from tokens of at least this probability; 0: off");
  table.add("eta_cutoff", &Config::eta_cutoff, kShare, value,
            "The same, less where the choice is open; 0: off");
  table.add("watermarking_config", &Config::watermarking_config, Valid{}, json,
            R"({"greenlist_ratio": 0.25, "bias": 2.0, ...}: a mark that transformers can detect)");
  table.add("renormalize_logits", &Config::renormalize_logits, Anything{}, flag,
            "Scores become log-probabilities at the end");
  table.add("seed", &Config::seed, Anything{}, value, "The same seed gives the same draws");
  table.add("num_return_sequences", &Config::num_return_sequences, kSequences, value,
            "Sequences returned for each prompt: drawn, or the best of as many beams");
}

void add_beams(Table& table) {
  using enum OptionShape;
  using Config = GenerationConfig;
  table.add("num_beams", &Config::num_beams, kBeams, value,
            "Sequences that beam search takes along for each prompt; 1: off");
  table.add("length_penalty", &Config::length_penalty, kFinite, value,
            "Beams are compared by their log-probability divided by length to this power");
  table.add("early_stopping", &Config::early_stopping, Anything{}, value,
            "true: end as soon as num_beams have ended; false: when no better one is likely; "
            "never: when none is possible");
}

void add_speculation(Table& table) {
  using enum OptionShape;
  using Config = GenerationConfig;
  table.add(
      "prompt_lookup_num_tokens", &Config::prompt_lookup_num_tokens, kAtLeast1, value,
      "Guess at most as many tokens from what followed the same ones before; changes no token");
  table.add("max_matching_ngram_size", &Config::max_matching_ngram_size, kAtLeast1, value,
            "How many tokens at most must be the same for that");
  table.add("num_assistant_tokens", &Config::num_assistant_tokens, kAtLeast1, value,
            "Most tokens that a draft model guesses at once");
  table.add("assistant_confidence_threshold", &Config::assistant_confidence_threshold, kShare,
            value, "A draft model guesses no further behind a token that it finds less likely");
}

std::vector<GenerationField> make_table() {
  Table table;
  add_length(table);
  add_penalties(table);
  add_sampling(table);
  add_beams(table);
  add_speculation(table);
  return std::move(table.fields);
}

}  // namespace

const std::vector<GenerationField>& generation_field_table() {
  static const std::vector<GenerationField> table = make_table();
  return table;
}

const std::vector<ForeignGenerationField>& foreign_generation_fields() {
  static const std::vector<ForeignGenerationField> fields = {
      {"use_mtp", "false", "DiffLlama and Llama have no layers that predict several tokens"},
      {"use_cache", "", "keys and values are always kept; the result is the same"},
      {"cache_implementation", "", "there is one cache; --cache-type chooses what it holds"},
      {"cache_config", "", "belongs to cache_implementation"},
      {"max_cache_len", "", "the cache grows as it is needed"},
      {"encoder_repetition_penalty", "1", "for models with an encoder"},
      {"remove_invalid_values", "false", "logits that are not numbers are an error"},
      {"token_healing", "false", "the prompt's tokens are taken as they are"},
      {"output_attentions", "", "`forward` gives attention maps"},
      {"output_hidden_states", "", "`forward` gives hidden states"},
      {"output_scores", "", "`forward` gives logits"},
      {"output_logits", "", "`forward` gives logits"},
      {"return_dict_in_generate", "", "a matter of Python"},
      {"bos_token_id", "", "the tokenizer's begins a prompt"},
      {"encoder_no_repeat_ngram_size", "0", "there is no encoder"},
      {"decoder_start_token_id", "null", "there is no encoder"},
      {"is_assistant", "", "set by transformers itself"},
      {"num_assistant_tokens_schedule", "", "how many tokens are guessed always follows success"},
      {"assistant_ensemble_weight", "null", "it would change which tokens come"},
      {"speculation_type", "", "prompt_lookup_num_tokens or a draft model says it"},
      {"assistant_early_exit", "", "layers that end early are of other models"},
      {"assistant_lookbehind", "", "for a draft model with another tokenizer"},
      {"target_lookbehind", "", "for a draft model with another tokenizer"},
      {"compile_config", "", "nothing is compiled"},
      {"disable_compile", "", "nothing is compiled"},
      {"continuous_batching_config", "", "of transformers' own scheduler"},
      {"low_memory", "", "transformers no longer has contrastive search"},
      {"penalty_alpha", "0", "transformers no longer has contrastive search"},
      {"dola_layers", "null", "transformers no longer has DoLa"},
      {"diversity_penalty", "0", "transformers no longer has group beam search"},
      {"num_beam_groups", "1", "transformers no longer has group beam search"},
      {"constraints", "null", "transformers no longer has constrained beam search"},
      {"force_words_ids", "null", "transformers no longer has constrained beam search"},
      {"prefill_chunk_size", "", "--prefill-chunk; the result is the same"},
      {"_from_model_config", "", "says where the file came from"},
      {"transformers_version", "", "says who wrote the file"},
  };
  return fields;
}

}  // namespace diffllama
