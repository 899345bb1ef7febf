#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "config/model_config.h"
#include "config/names.h"
#include "config/rope_config.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

// rope_theta and rope_scaling that say what rope_parameters says.
void put_old_rope(json& document) {
  json scaling = document.at("rope_parameters");
  document["rope_theta"] = scaling.at("rope_theta");
  scaling.erase("rope_theta");
  const bool plain = scaling.value("rope_type", "default") == "default";
  document["rope_scaling"] = plain ? json(nullptr) : scaling;
  // longrope's is looked for here.
  const auto original = scaling.find("original_max_position_embeddings");
  if (scaling.value("rope_type", "") == "longrope" && original != scaling.end()) {
    document["original_max_position_embeddings"] = *original;
  }
}

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

// Optional fields that transformers leaves out when they are not set.
template <class T>
void put(json& document, const char* field, const std::optional<T>& value) {
  document.erase(field);
  if (value) document[field] = *value;
}

json eos_json(const std::vector<std::int64_t>& ids) {
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? json(ids.front()) : json(ids);
}

void put_labels(json& document, const std::vector<std::string>& labels) {
  for (const char* field : {"num_labels", "id2label", "label2id"}) document.erase(field);
  if (labels == ModelConfig{}.labels) return;
  json id2label = json::object();
  json label2id = json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    id2label[std::to_string(i)] = labels[i];
    label2id[labels[i]] = i;
  }
  document["id2label"] = std::move(id2label);
  document["label2id"] = std::move(label2id);
}

json dex_json(const std::vector<DexHeads>& dex) {
  json layers = json::array();
  json heads = json::array();
  for (const DexHeads& entry : dex) {
    layers.push_back(entry.layer);
    heads.push_back(entry.heads);
  }
  return {{"layers", layers}, {"heads", heads}};
}

// What a member of the family has beside a Llama's fields.
void put_member(json& document, const ModelConfig& config) {
  for (const char* field : {"qk_norm", "dex", "qkv_bias", "num_noise_heads"}) document.erase(field);
  if (config.model_type == ModelType::diffllama) {
    document["lambda_std_dev"] = config.lambda_std_dev;
    return;
  }
  if (config.model_type != ModelType::motif) document["mlp_bias"] = config.mlp_bias;
  switch (config.model_type) {
    case ModelType::diffllama:
      return;
    case ModelType::llama:
      if (config.qk_norm) document["qk_norm"] = true;
      if (!config.dex.empty()) document["dex"] = dex_json(config.dex);
      return;
    case ModelType::diff_transformer:
      document["subln_eps"] = config.subln_eps;
      document["kv_pairs"] = config.kv_pairs;
      put(document, "lambda_init", config.lambda_init);
      document["rope_interleaved"] = config.rope_interleaved;
      document["lambda_std_dev"] = config.lambda_std_dev;
      return;
    case ModelType::diff_transformer_v2:
      document["rope_interleaved"] = config.rope_interleaved;
      return;
    case ModelType::motif:
      document["attn_rms_norm_eps"] = config.subln_eps;
      document["num_noise_heads"] = or_null(config.num_noise_heads);
      document["use_bias"] = config.mlp_bias;
      put(document, "qkv_bias", config.qkv_bias);
      document["lambda_std_dev"] = config.lambda_std_dev;
      return;
  }
}

// The rotary settings in transformers 5's style and in that of versions before, which read
// rope_parameters as nothing.
void put_rope(json& document, const ModelConfig& config) {
  // Older spellings that would win over, or contradict, what is written here.
  for (const char* field : {"rope_theta", "rope_scaling", "partial_rotary_factor",
                            "original_max_position_embeddings"}) {
    document.erase(field);
  }
  document["rope_parameters"] = rope_to_json(config);
  put_old_rope(document);
}

}  // namespace

double attention_dropout(const ModelConfig& config) {
  if (config.model_type == ModelType::diffllama || config.source_json.empty()) return 0;
  const json document = parse_json(config.source_json, "source_json");
  const auto found = document.is_object() ? document.find("attention_dropout") : document.end();
  return found != document.end() && found->is_number() ? found->get<double>() : 0;
}

std::string write_model_config(const ModelConfig& config) {
  json document = json::object();
  validate(config, "model configuration", [](const std::string&) {});
  if (!config.source_json.empty()) document = parse_json(config.source_json, "source_json");
  if (!document.is_object()) {
    throw FormatError("source_json: expected a JSON object, got " + json_excerpt(document));
  }
  document["model_type"] = model_type_name(config.model_type);
  document["architectures"] = {architecture_name(config.model_type, config.architecture)};
  document["vocab_size"] = config.vocab_size;
  document["hidden_size"] = config.hidden_size;
  document["intermediate_size"] = config.intermediate_size;
  document["num_hidden_layers"] = config.num_hidden_layers;
  document["num_attention_heads"] = config.num_attention_heads;
  document["num_key_value_heads"] = config.num_key_value_heads;
  document["head_dim"] = config.head_dim;
  document["hidden_act"] = activation_name(config.hidden_act);
  document["max_position_embeddings"] = config.max_position_embeddings;
  document["initializer_range"] = config.initializer_range;
  document["rms_norm_eps"] = config.rms_norm_eps;
  document["use_cache"] = config.use_cache;
  document["pad_token_id"] = or_null(config.pad_token_id);
  document["bos_token_id"] = or_null(config.bos_token_id);
  document["eos_token_id"] = eos_json(config.eos_token_ids);
  document["tie_word_embeddings"] = config.tie_word_embeddings;
  document["attention_bias"] = config.attention_bias;
  document["attention_dropout"] = attention_dropout(config);
  put_member(document, config);
  put_rope(document, config);
  put_labels(document, config.labels);

  document.erase("problem_type");
  if (config.problem_type) document["problem_type"] = problem_type_name(*config.problem_type);
  put(document, "classifier_dropout", config.classifier_dropout);
  put(document, "hidden_dropout", config.hidden_dropout);
  document.erase("token_classification_bias");
  if (!config.token_classification_bias) document["token_classification_bias"] = false;
  for (const char* field : {"dtype", "torch_dtype"}) {
    document.erase(field);
    if (config.dtype) document[field] = torch_dtype_name(*config.dtype);
  }
  // Label names from the API may be any bytes.
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string ModelConfig::class_name() const { return architecture_name(model_type, architecture); }

ModelConfig ModelConfig::from_json(std::string_view text, const std::string& where,
                                   const WarningHandler& warn) {
  return parse_model_config(text, where, warn);
}

std::string ModelConfig::to_json() const { return write_model_config(*this); }

namespace {

// Whether transformers before 5 computes something else with these settings, or nothing.
bool needs_old_rope(const json& document, const RopeParameters& rope) {
  if (rope.type == RopeType::yarn && !rope.factor) return true;
  if (rope.type == RopeType::longrope && rope.original_max_position_embeddings &&
      !document.contains("original_max_position_embeddings")) {
    return true;
  }
  if (document.contains("rope_theta") || document.contains("rope_scaling")) return false;
  return rope.type != RopeType::default_rope || rope.theta != RopeParameters{}.theta;
}

}  // namespace

std::string config_for_every_version(const std::string& text, const std::string& where) {
  const ModelConfig config = parse_model_config(text, where, [](const std::string&) {});
  json document = parse_json(text, where);
  if (!needs_old_rope(document, config.rope)) return text;
  put_rope(document, config);
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace diffllama
