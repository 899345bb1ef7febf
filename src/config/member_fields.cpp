#include "config/member_fields.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.h"
#include "config/names.h"
#include "config/warnings.h"

namespace diffllama {
namespace {

using nlohmann::json;

// Nothing that changes a model: null, false, 0, "", [], {}.
bool is_off(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  const bool zero = value.is_number() && value.get<double>() == 0;
  return zero || value == false || value.empty();
}

// A field of the family and the types that have it.
struct OwnField {
  const char* name;
  ModelType type;
  std::optional<ModelType> other = {};
};
constexpr OwnField kOwnFields[] = {
    {"dex", ModelType::llama},
    {"qk_norm", ModelType::llama},
    {"subln_eps", ModelType::diff_transformer},
    {"kv_pairs", ModelType::diff_transformer},
    {"lambda_init", ModelType::diff_transformer},
    {"rope_interleaved", ModelType::diff_transformer, ModelType::diff_transformer_v2},
    {"num_noise_heads", ModelType::motif},
    {"attn_rms_norm_eps", ModelType::motif},
    {"grouped_ratio", ModelType::motif},
    {"use_bias", ModelType::motif},
    {"qkv_bias", ModelType::motif},
};

void refuse_fields_of_others(const JsonFields& fields, ModelType type) {
  for (const OwnField& own : kOwnFields) {
    const json* const value = fields.find(own.name);
    if (value == nullptr || is_off(*value) || type == own.type || type == own.other) continue;
    // transformers' own types may have any field that it does not read.
    const bool of_llama = own.type == ModelType::llama;
    if (is_of_transformers(type) && !of_llama) continue;
    std::string owners(model_type_name(own.type));
    if (own.other) owners += " and " + std::string(model_type_name(*own.other));
    fields.reject(own.name, (value->is_boolean() ? "false (" : "no such field (") +
                                (of_llama ? "a Llama alone has it" : "it belongs to " + owners) +
                                ")");
  }
}

// A number that must be `only`.
void expect_number(const JsonFields& fields, const char* name, std::int64_t only,
                   const std::string& why) {
  const json* const value = fields.find(name);
  if (value != nullptr && *value != only) {
    fields.reject(name, std::to_string(only) + " (" + why + ")");
  }
}

void expect_false(const JsonFields& fields, const char* name, const std::string& why) {
  bool value = false;
  fields.read(name, value);
  if (value) fields.reject(name, "false (" + why + ")");
}

// What later releases and other models have, and no public code of these members computes with.
void refuse_unsupported(const JsonFields& fields) {
  expect_false(fields, "use_sliding_window", "sliding windows are not supported");
  if (const json* const types = fields.find("layer_types")) {
    const bool full = types->is_array() && std::ranges::all_of(*types, [](const json& layer) {
                        return layer == "full_attention";
                      });
    if (!full) fields.reject("layer_types", "\"full_attention\" for each layer");
  }
  constexpr const char* kFactor = "other factors are not supported";
  expect_number(fields, "partial_rotary_factor", 1, kFactor);
  for (const char* rope : {"rope_parameters", "rope_scaling"}) {
    if (const json* const settings = fields.find_object(rope)) {
      expect_number(JsonFields(*settings, fields.where() + ": " + rope), "partial_rotary_factor", 1,
                    kFactor);
    }
  }
  expect_number(fields, "scale_emb", 1, "scaled embeddings are not supported");
}

void check_motif(const JsonFields& fields, const ModelConfig& config) {
  expect_number(fields, "k_ratio", 1, "other ratios are not supported");
  const std::int64_t noise = config.num_noise_heads.value_or(config.num_attention_heads / 2);
  if (noise > 0 && config.num_attention_heads >= noise) {
    expect_number(fields, "grouped_ratio", config.num_attention_heads / noise - 1,
                  "what the numbers of heads make it");
  }
  bool mlp_bias = config.mlp_bias;
  fields.read("mlp_bias", mlp_bias);
  if (mlp_bias != config.mlp_bias && mlp_bias) {
    fields.reject("mlp_bias", "false (use_bias gives a motif its biases)");
  }
}

// Fields that are read, and those of transformers' configs, its remote code and its trainers that
// do not change what a decoder computes.
constexpr auto kKnown = std::to_array<std::string_view>({
    "add_cross_attention",
    "architectures",
    "attention_bias",
    "attention_dropout",
    "attn_implementation",
    "attn_rms_norm_eps",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "dex",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "fused_rope",
    "grouped_ratio",
    "head_dim",
    "hidden_act",
    "hidden_dropout",
    "hidden_size",
    "id2label",
    "initializer_range",
    "intermediate_size",
    "is_causal",
    "is_decoder",
    "is_encoder_decoder",
    "k_ratio",
    "kv_pairs",
    "label2id",
    "lambda_init",
    "lambda_std_dev",
    "layer_types",
    "length_penalty",
    "loss_reduction",
    "max_length",
    "max_position_embeddings",
    "max_window_layers",
    "min_length",
    "mlp_bias",
    "model_type",
    "no_repeat_ngram_size",
    "num_attention_heads",
    "num_beam_groups",
    "num_beams",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_labels",
    "num_noise_heads",
    "num_return_sequences",
    "original_max_position_embeddings",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "partial_rotary_factor",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "qk_norm",
    "qkv_bias",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "rms_norm_eps",
    "rope_interleaved",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "scale_emb",
    "sep_token_id",
    "sliding_window",
    "subln_eps",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_last_hidden_states",
    "tie_word_embeddings",
    "token_classification_bias",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unsloth_version",
    "use_bfloat16",
    "use_bias",
    "use_cache",
    "use_moreh_attention",
    "use_sliding_window",
    "vocab_size",
});

void warn_of_unknown(const JsonFields& fields, const WarningHandler& warn) {
  constexpr int kMost = 10;
  std::string names;
  int count = 0;
  for (const auto& [name, value] : fields.object().items()) {
    if (name.starts_with('_') || is_off(value) || std::ranges::find(kKnown, name) != kKnown.end()) {
      continue;
    }
    if (++count <= kMost) names += (names.empty() ? "" : ", ") + shortened(name);
  }
  if (count == 0) return;
  if (count > kMost) names += " and " + std::to_string(count - kMost) + " more";
  emit_warning(warn,
               fields.where() + ": fields that are not known, which change nothing here: " + names);
}

}  // namespace

bool is_of_transformers(ModelType type) {
  return type == ModelType::diffllama || type == ModelType::llama;
}

void check_members_fields(const JsonFields& fields, const ModelConfig& config,
                          const WarningHandler& warn) {
  refuse_fields_of_others(fields, config.model_type);
  if (is_of_transformers(config.model_type)) return;
  refuse_unsupported(fields);
  if (config.model_type == ModelType::motif) check_motif(fields, config);
  warn_of_unknown(fields, warn);
}

}  // namespace diffllama
