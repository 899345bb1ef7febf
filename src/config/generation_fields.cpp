#include "config/generation_fields.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
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

template <class T>
json written(const T& value) {
  return value;
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
constexpr Numbers kShare{.low = 0, .high = 1};
constexpr Numbers kAbove0{.low = 0, .above_low = true};

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
  table.add("repetition_penalty", &Config::repetition_penalty, kAbove0, value,
            "Above 1: tokens seen before, in the prompt too, become less likely; 1: off");
  table.add("no_repeat_ngram_size", &Config::no_repeat_ngram_size, kAtLeast0, value,
            "No run of as many tokens comes twice; 0: off");
}

void add_sampling(Table& table) {
  using enum OptionShape;
  using Config = GenerationConfig;
  table.add("do_sample", &Config::do_sample, Anything{}, flag,
            "Draw tokens instead of taking the likeliest");
  table.add("temperature", &Config::temperature, Numbers{}, value,
            "Above 0: draw tokens, from logits divided by it; 0: greedy");
  table.add("top_k", &Config::top_k, Integers{.low = -1}, value,
            "Draw from the K likeliest tokens; 0 or -1: off");
  table.add("top_p", &Config::top_p, kShare, value,
            "Draw from the likeliest tokens that make up this probability; 1: off");
  table.add("min_p", &Config::min_p, kShare, value,
            "Draw from tokens this likely in proportion to the likeliest; 0: off");
  table.add("seed", &Config::seed, Anything{}, value, "The same seed gives the same draws");
  table.add("num_return_sequences", &Config::num_return_sequences, kSequences, value,
            "Sequences drawn for each prompt");
}

std::vector<GenerationField> make_table() {
  Table table;
  add_length(table);
  add_penalties(table);
  add_sampling(table);
  return std::move(table.fields);
}

}  // namespace

const std::vector<GenerationField>& generation_field_table() {
  static const std::vector<GenerationField> table = make_table();
  return table;
}

const std::vector<ForeignGenerationField>& foreign_generation_fields() {
  static const std::vector<ForeignGenerationField> fields = {
      {"early_stopping", "false", "beam search is not there yet"},
      {"max_time", "null", "not there yet"},
      {"num_beams", "1", "beam search is not there yet"},
      {"use_mtp", "false", "DiffLlama and Llama have no layers that predict several tokens"},
      {"use_cache", "", "keys and values are always kept; the result is the same"},
      {"cache_implementation", "", "there is one cache; --cache-type chooses what it holds"},
      {"cache_config", "", "belongs to cache_implementation"},
      {"max_cache_len", "", "the cache grows as it is needed"},
      {"top_h", "null", "not there yet"},
      {"typical_p", "1", "not there yet"},
      {"epsilon_cutoff", "0", "not there yet"},
      {"eta_cutoff", "0", "not there yet"},
      {"encoder_repetition_penalty", "1", "there is no encoder"},
      {"length_penalty", "1", "beam search is not there yet"},
      {"bad_words_ids", "null", "not there yet"},
      {"renormalize_logits", "false", "not there yet"},
      {"forced_bos_token_id", "null", "not there yet"},
      {"forced_eos_token_id", "null", "not there yet"},
      {"remove_invalid_values", "false", "logits that are not numbers are an error"},
      {"exponential_decay_length_penalty", "null", "not there yet"},
      {"suppress_tokens", "null []", "not there yet"},
      {"begin_suppress_tokens", "null []", "not there yet"},
      {"sequence_bias", "null", "not there yet"},
      {"token_healing", "false", "the prompt's tokens are taken as they are"},
      {"guidance_scale", "1", "not there yet"},
      {"watermarking_config", "null", "not there yet"},
      {"output_attentions", "", "`forward` gives attention maps"},
      {"output_hidden_states", "", "`forward` gives hidden states"},
      {"output_scores", "", "`forward` gives logits"},
      {"output_logits", "", "`forward` gives logits"},
      {"return_dict_in_generate", "", "a matter of Python"},
      {"bos_token_id", "", "the tokenizer's begins a prompt"},
      {"encoder_no_repeat_ngram_size", "0", "there is no encoder"},
      {"decoder_start_token_id", "null", "there is no encoder"},
      {"is_assistant", "", "set by transformers itself"},
      {"num_assistant_tokens", "", "speculation is not there yet"},
      {"num_assistant_tokens_schedule", "", "speculation is not there yet"},
      {"assistant_confidence_threshold", "", "speculation is not there yet"},
      {"prompt_lookup_num_tokens", "", "speculation is not there yet; it changes no token"},
      {"max_matching_ngram_size", "", "belongs to prompt_lookup_num_tokens"},
      {"assistant_early_exit", "", "layers that end early are of other models"},
      {"assistant_lookbehind", "", "for a draft model with another tokenizer"},
      {"target_lookbehind", "", "for a draft model with another tokenizer"},
      {"assistant_ensemble_weight", "null", "it would change the tokens that speculation gives"},
      {"speculation_type", "", "speculation is not there yet"},
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
