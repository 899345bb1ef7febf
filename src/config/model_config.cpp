#include "config/model_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "config/json_fields.h"
#include "config/member_fields.h"
#include "config/names.h"
#include "config/rope_config.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxLabels = 1'000'000;

const json* first_architecture(const JsonFields& fields) {
  const json* list = fields.find("architectures");
  if (list == nullptr) return nullptr;
  if (!list->is_array() || (!list->empty() && !list->front().is_string())) {
    fields.reject("architectures", "a list of class names");
  }
  return list->empty() ? nullptr : &list->front();
}

ModelType parse_model_type(const JsonFields& fields) {
  if (const auto name = fields.text("model_type")) {
    // The releases of Motif have it with either letter.
    const auto type = find_model_type(*name == "Motif" ? "motif" : *name);
    if (!type) fields.reject("model_type", model_type_names());
    return *type;
  }
  // Without a model_type, as when one class of transformers is loaded by name, the class tells.
  if (const json* name = first_architecture(fields)) {
    if (const auto type = find_model_type_of_class(name->get<std::string>())) return *type;
  }
  fields.reject("model_type", model_type_names());
}

// Old files name the causal LM otherwise: LLaMAForCausalLM.
bool is_causal_lm_name(std::string name) {
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return name.ends_with("forcausallm");
}

Architecture parse_architecture(const JsonFields& fields, ModelType type,
                                const WarningHandler& warn) {
  const json* name = first_architecture(fields);
  if (name == nullptr) {
    emit_warning(warn, fields.where() + ": architectures: none given, read as " +
                           architecture_name(type, Architecture::causal_lm));
    return Architecture::causal_lm;
  }
  const auto text = name->get<std::string>();
  if (const auto architecture = find_architecture(type, text)) return *architecture;
  const bool known = find_model_type_of_class(text).has_value();
  if (known || !is_causal_lm_name(text)) {
    fields.reject("architectures", architecture_names(type) + " first for model_type \"" +
                                       std::string(model_type_name(type)) + "\"");
  }
  return Architecture::causal_lm;
}

void parse_sizes(const JsonFields& fields, ModelConfig& config) {
  fields.read("vocab_size", config.vocab_size);
  fields.read("hidden_size", config.hidden_size);
  fields.read("intermediate_size", config.intermediate_size);
  fields.read("num_hidden_layers", config.num_hidden_layers);
  fields.read("num_attention_heads", config.num_attention_heads);
  std::optional<std::int64_t> key_value_heads;
  fields.read("num_key_value_heads", key_value_heads);
  config.num_key_value_heads = key_value_heads.value_or(config.num_attention_heads);
  std::optional<std::int64_t> head_dim;
  fields.read("head_dim", head_dim);
  if (!head_dim && config.num_attention_heads < 1) {
    fields.reject("num_attention_heads", "an integer above 0");
  }
  config.head_dim = head_dim ? *head_dim : config.hidden_size / config.num_attention_heads;
}

// Llama applies it in training alone, transformers' DiffLlama always.
void check_attention_dropout(const JsonFields& fields, ModelType type, double dropout) {
  if (type == ModelType::diffllama && dropout != 0) {
    fields.reject("attention_dropout", "0 (attention dropout is not supported)");
  }
  if (!(dropout >= 0 && dropout < 1)) {
    fields.reject("attention_dropout", "a number from 0 to below 1");
  }
}

void parse_layers(const JsonFields& fields, ModelConfig& config) {
  if (fields.contains("hidden_act")) {
    const auto name = fields.text("hidden_act");
    const auto activation = name ? find_activation(*name, config.model_type) : std::nullopt;
    if (!activation) fields.reject("hidden_act", activation_names(config.model_type));
    config.hidden_act = *activation;
  }
  fields.read("max_position_embeddings", config.max_position_embeddings);
  fields.read("initializer_range", config.initializer_range);
  fields.read("rms_norm_eps", config.rms_norm_eps);
  fields.read("use_cache", config.use_cache);
  fields.read("tie_word_embeddings", config.tie_word_embeddings);
  fields.read("attention_bias", config.attention_bias);
  if (config.model_type != ModelType::diffllama) fields.read("mlp_bias", config.mlp_bias);
  std::optional<double> lambda_std_dev;  // null is allowed; only a new model needs it
  fields.read("lambda_std_dev", lambda_std_dev);
  config.lambda_std_dev = lambda_std_dev.value_or(config.lambda_std_dev);
  std::optional<double> attention_dropout;
  fields.read("attention_dropout", attention_dropout);
  check_attention_dropout(fields, config.model_type, attention_dropout.value_or(0));
}

// "heads": one list for all layers, or a list for each of "layers".
std::vector<DexHeads> parse_dex(const JsonFields& fields) {
  const json* dex = fields.find("dex");
  if (dex == nullptr) return {};
  constexpr const char* kExpected =
      "an object with lists of integers \"layers\" and \"heads\" (heads: one list, or one for each "
      "layer)";
  const auto is_integers = [](const json& list) {
    return list.is_array() &&
           std::ranges::all_of(list, [](const json& item) { return item.is_number_integer(); });
  };
  if (!dex->is_object() || !dex->contains("layers") || !dex->contains("heads")) {
    fields.reject("dex", kExpected);
  }
  const json& layers = dex->at("layers");
  const json& heads = dex->at("heads");
  const bool one_list = is_integers(heads);
  const bool lists =
      heads.is_array() && std::ranges::all_of(heads, is_integers) && heads.size() == layers.size();
  if (!is_integers(layers) || !(one_list || lists)) fields.reject("dex", kExpected);
  std::vector<DexHeads> result;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const json& list = one_list ? heads : heads[i];
    result.push_back(
        {.layer = layers[i].get<std::int64_t>(), .heads = list.get<std::vector<std::int64_t>>()});
  }
  std::ranges::stable_sort(result, {}, &DexHeads::layer);
  return result;
}

// What the members of the family have beside a Llama's fields (docs/variants.md).
void parse_members(const JsonFields& fields, ModelConfig& config) {
  switch (config.model_type) {
    case ModelType::diffllama:
      return;
    case ModelType::llama:
      fields.read("qk_norm", config.qk_norm);
      config.dex = parse_dex(fields);
      return;
    case ModelType::diff_transformer:
      fields.read("subln_eps", config.subln_eps);
      fields.read("kv_pairs", config.kv_pairs);
      fields.read("lambda_init", config.lambda_init);
      fields.read("rope_interleaved", config.rope_interleaved);
      return;
    case ModelType::diff_transformer_v2:
      fields.read("rope_interleaved", config.rope_interleaved);
      return;
    case ModelType::motif: {
      fields.read("attn_rms_norm_eps", config.subln_eps);
      fields.read("num_noise_heads", config.num_noise_heads);
      if (config.num_noise_heads == 0) config.num_noise_heads.reset();
      config.mlp_bias = false;
      fields.read("use_bias", config.mlp_bias);
      config.attention_bias = config.attention_bias || config.mlp_bias;
      if (fields.contains("qkv_bias")) {
        config.qkv_bias = false;
        fields.read("qkv_bias", *config.qkv_bias);
      }
      return;
    }
  }
}

void parse_tokens(const JsonFields& fields, ModelConfig& config) {
  fields.read("pad_token_id", config.pad_token_id);
  fields.read("bos_token_id", config.bos_token_id);
  fields.read_integers("eos_token_id", config.eos_token_ids);
}

std::vector<std::string> default_labels(std::int64_t count) {
  std::vector<std::string> labels;
  for (std::int64_t i = 0; i < count; ++i) labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}

std::int64_t label_index(const JsonFields& fields, const std::string& key) {
  std::int64_t index = 0;
  const char* end = key.data() + key.size();
  const auto [parsed, error] = std::from_chars(key.data(), end, index);
  if (error != std::errc() || parsed != end) {
    reject_field(fields.where(), "id2label", "integers as keys", json_excerpt(key));
  }
  return index;
}

std::vector<std::string> parse_id2label(const JsonFields& fields, const json& id2label,
                                        const WarningHandler& warn) {
  if (!id2label.is_object()) fields.reject("id2label", "an object from indices to names, or null");
  std::map<std::int64_t, std::string> names;
  for (const auto& [key, value] : id2label.items()) {
    if (value.is_structured()) fields.reject("id2label", "names as values");
    names[label_index(fields, key)] =
        value.is_string() ? value.get<std::string>() : json_excerpt(value);
  }
  // The count alone sizes the head; a gap in the indices only costs names.
  auto labels = default_labels(static_cast<std::int64_t>(names.size()));
  for (auto& [index, name] : names) {
    if (index < 0 || index >= static_cast<std::int64_t>(labels.size())) {
      emit_warning(warn, fields.where() + ": id2label: index " + std::to_string(index) +
                             " is outside the " + std::to_string(labels.size()) + " labels");
    } else {
      labels[static_cast<std::size_t>(index)] = std::move(name);
    }
  }
  return labels;
}

// As transformers 5 does: num_labels that contradicts id2label replaces it, with a warning.
void parse_labels(const JsonFields& fields, ModelConfig& config, const WarningHandler& warn) {
  std::optional<std::int64_t> count;
  fields.read("num_labels", count);
  if (count && (*count < 0 || *count > kMaxLabels)) {
    fields.reject("num_labels", "an integer from 0 to " + std::to_string(kMaxLabels));
  }
  const json* id2label = fields.find("id2label");
  if (id2label != nullptr) config.labels = parse_id2label(fields, *id2label, warn);
  if (count && *count != config.num_labels()) {
    if (id2label != nullptr) {
      emit_warning(warn, fields.where() + ": num_labels: " + std::to_string(*count) +
                             " replaces the " + std::to_string(config.num_labels()) +
                             " names of id2label");
    }
    config.labels = default_labels(*count);
  }
}

void parse_head(const JsonFields& fields, ModelConfig& config, const WarningHandler& warn) {
  parse_labels(fields, config, warn);
  if (const auto name = fields.text("problem_type")) {
    config.problem_type = find_problem_type(*name);
    if (!config.problem_type) fields.reject("problem_type", problem_type_names() + ", or null");
  }
  fields.read("classifier_dropout", config.classifier_dropout);
  fields.read("hidden_dropout", config.hidden_dropout);
  fields.read("token_classification_bias", config.token_classification_bias);
}

void parse_dtype(const JsonFields& fields, ModelConfig& config) {
  for (const char* field : {"dtype", "torch_dtype"}) {
    if (const auto name = fields.text(field)) {
      config.dtype = find_torch_dtype(*name);
      if (!config.dtype) fields.reject(field, torch_dtype_names() + ", or null");
      return;
    }
  }
}

// Settings that would make transformers compute something else than this engine does.
void refuse_what_changes_the_model(const JsonFields& fields) {
  for (const char* field : {"quantization_config", "per_layer_config"}) {
    if (fields.find(field) != nullptr) fields.reject(field, "no such field (it is not supported)");
  }
  for (const char* field : {"is_causal", "tie_last_hidden_states"}) {
    if (fields.find(field) == nullptr) continue;
    bool value = true;
    fields.read(field, value);
    if (!value) fields.reject(field, "true (false is not supported)");
  }
}

// A null is refused where transformers' DiffLlamaConfig and LlamaConfig refuse it. In fields that
// they do not have, and in the members that transformers does not define, it means the default:
// their authors' own configs take it.
json without_nulls(const json& document) {
  json present = json::object();
  for (const auto& [name, value] : document.items()) {
    if (!value.is_null()) present[name] = value;
  }
  return present;
}

}  // namespace

ModelConfig default_config(ModelType type) {
  ModelConfig config;
  config.model_type = type;
  if (type == ModelType::motif) config.hidden_act = Activation::poly_norm;
  if (type != ModelType::diffllama) {
    config.hidden_size = 4096;
    config.intermediate_size = 11008;
    config.num_hidden_layers = 32;
    config.head_dim = 128;
    config.rms_norm_eps = 1e-6;
  }
  return config;
}

ModelConfig parse_model_config(std::string_view json_text, const std::string& where,
                               const WarningHandler& warn) {
  const json document = parse_json(json_text, where);
  if (!document.is_object()) {
    throw FormatError(where + ": expected a JSON object, got " + json_excerpt(document));
  }
  const JsonFields fields(document, where);
  // Motif-3 and its like, whose other fields may read as a member's.
  if (fields.find("kv_lora_rank") != nullptr) {
    fields.reject("kv_lora_rank", "no such field (latent attention is not supported)");
  }
  ModelConfig config = default_config(parse_model_type(fields));
  config.architecture = parse_architecture(fields, config.model_type, warn);
  const json present = without_nulls(document);
  const JsonFields own(present, where);
  parse_sizes(fields, config);
  parse_layers(is_of_transformers(config.model_type) ? fields : own, config);
  parse_members(own, config);
  parse_tokens(fields, config);
  parse_head(fields, config, warn);
  parse_dtype(fields, config);
  refuse_what_changes_the_model(fields);
  check_members_fields(own, config, warn);
  config.rope = parse_rope(fields, warn);
  config.source_json = json_text;
  validate(config, where, warn);
  return config;
}

}  // namespace diffllama
