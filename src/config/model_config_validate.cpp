#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "config/json_fields.h"
#include "config/model_config.h"
#include "config/names.h"
#include "config/rope_config.h"
#include "config/warnings.h"

namespace diffllama {
namespace {

// Products of two sizes then fit in 63 bits.
constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxLayers = 10'000;

class Validator {
 public:
  Validator(const ModelConfig& config, const std::string& where, const WarningHandler& warn)
      : config_(config), where_(where), warn_(warn) {}

  void run() const {
    check_sizes();
    check_heads();
    check_numbers();
    check_tokens();
    check_labels();
    validate_rope(config_, where_, warn_);
  }

 private:
  void size(const char* field, std::int64_t value, std::int64_t most = kMaxSize) const {
    if (value < 1 || value > most) {
      reject_field(where_, field, "an integer from 1 to " + std::to_string(most),
                   std::to_string(value));
    }
  }
  void at_least_zero(const char* field, double value) const {
    if (!std::isfinite(value) || value < 0) {
      reject_field(where_, field, "a finite number >= 0", number_text(value));
    }
  }
  void probability(const char* field, const std::optional<double>& value) const {
    if (value && !(*value >= 0 && *value <= 1)) {
      reject_field(where_, field, "a number from 0 to 1", number_text(*value));
    }
  }

  void check_sizes() const {
    size("vocab_size", config_.vocab_size);
    size("hidden_size", config_.hidden_size);
    size("intermediate_size", config_.intermediate_size);
    size("num_hidden_layers", config_.num_hidden_layers, kMaxLayers);
    size("num_attention_heads", config_.num_attention_heads);
    size("num_key_value_heads", config_.num_key_value_heads);
    size("head_dim", config_.head_dim);
    size("max_position_embeddings", config_.max_position_embeddings);
    if (config_.num_attention_heads * config_.head_dim > kMaxSize) {
      reject_field(
          where_, "head_dim",
          "num_attention_heads * head_dim of at most " + std::to_string(kMaxSize),
          std::to_string(config_.num_attention_heads) + " * " + std::to_string(config_.head_dim));
    }
  }
  void check_heads() const {
    if (config_.head_dim % 2 != 0) {
      reject_field(where_, "head_dim", "an even number", std::to_string(config_.head_dim));
    }
    switch (config_.model_type) {
      case ModelType::diffllama:
      case ModelType::diff_transformer:
        check_even_key_heads();
        return check_grouped_heads();
      case ModelType::diff_transformer_v2:
        return check_v2_heads();
      case ModelType::motif:
        return check_motif_heads();
      case ModelType::llama:
        check_grouped_heads();
        if (config_.hidden_size % config_.num_attention_heads != 0) {
          reject_field(
              where_, "hidden_size",
              "a multiple of num_attention_heads " + std::to_string(config_.num_attention_heads),
              std::to_string(config_.hidden_size));
        }
        return check_dex();
    }
  }
  void check_even_key_heads() const {
    if (config_.num_key_value_heads % 2 != 0) {
      reject_field(where_, "num_key_value_heads", "an even number (heads work in pairs)",
                   std::to_string(config_.num_key_value_heads));
    }
  }
  void reject_heads(const std::string& expected) const {
    reject_field(where_, "num_attention_heads", expected,
                 std::to_string(config_.num_attention_heads));
  }
  void check_grouped_heads() const {
    if (config_.num_attention_heads % config_.num_key_value_heads != 0) {
      reject_heads("a multiple of num_key_value_heads " +
                   std::to_string(config_.num_key_value_heads));
    }
  }
  void check_v2_heads() const {
    if (config_.num_attention_heads % (2 * config_.num_key_value_heads) != 0) {
      reject_heads("a multiple of twice num_key_value_heads " +
                   std::to_string(config_.num_key_value_heads));
    }
  }
  // n groups of signal heads and a noise head, which share K/2 pairs of key heads evenly.
  void check_motif_heads() const {
    check_even_key_heads();
    const std::int64_t heads = config_.num_attention_heads;
    if (config_.num_noise_heads) size("num_noise_heads", *config_.num_noise_heads);
    const std::int64_t noise = config_.num_noise_heads.value_or(heads / 2);
    if (noise < 1 || heads % noise != 0 || heads == noise) {
      reject_heads(config_.num_noise_heads
                       ? "a multiple of num_noise_heads " + std::to_string(noise) + ", and more"
                       : "an even number (heads work in pairs)");
    }
    if (!config_.num_noise_heads && heads % 2 != 0) {
      reject_heads("an even number (heads work in pairs)");
    }
    const std::int64_t pairs = config_.num_key_value_heads / 2;
    if (noise % pairs != 0) {
      reject_field(where_, "num_key_value_heads",
                   "twice a divisor of the " + std::to_string(noise) + " noise heads",
                   std::to_string(config_.num_key_value_heads));
    }
    if (config_.mlp_bias && !config_.attention_bias) {
      reject_field(where_, "attention_bias", "true beside use_bias true", "false");
    }
  }
  void check_dex() const {
    std::int64_t last = -1;
    for (const DexHeads& dex : config_.dex) {
      if (dex.layer <= last || dex.layer >= config_.num_hidden_layers) {
        reject_field(where_, "dex",
                     "different layers from 0 to " + std::to_string(config_.num_hidden_layers - 1),
                     std::to_string(dex.layer));
      }
      last = dex.layer;
      if (dex.heads.empty()) reject_field(where_, "dex", "heads for each layer", "none");
      std::set<std::int64_t> seen;
      for (const std::int64_t head : dex.heads) {
        if (head < 0 || head >= config_.num_attention_heads || !seen.insert(head).second) {
          reject_field(
              where_, "dex",
              "different heads from 0 to " + std::to_string(config_.num_attention_heads - 1),
              std::to_string(head));
        }
      }
    }
  }
  void check_numbers() const {
    at_least_zero("initializer_range", config_.initializer_range);
    at_least_zero("rms_norm_eps", config_.rms_norm_eps);
    at_least_zero(config_.model_type == ModelType::motif ? "attn_rms_norm_eps" : "subln_eps",
                  config_.subln_eps);
    if (config_.hidden_act == Activation::poly_norm && config_.model_type != ModelType::motif) {
      reject_field(where_, "hidden_act", activation_names(config_.model_type), "poly_norm");
    }
    at_least_zero("lambda_std_dev", config_.lambda_std_dev);
    if (config_.lambda_init && !(*config_.lambda_init >= 0 && *config_.lambda_init < 1)) {
      reject_field(where_, "lambda_init", "a number from 0 to below 1",
                   number_text(*config_.lambda_init));
    }
    probability("classifier_dropout", config_.classifier_dropout);
    probability("hidden_dropout", config_.hidden_dropout);
    if (config_.dtype && torch_dtype_name(*config_.dtype).empty()) {
      reject_field(where_, "dtype", torch_dtype_names() + ", or none", "another");
    }
  }
  void check_tokens() const {
    const std::int64_t vocabulary = config_.vocab_size;
    if (config_.pad_token_id && *config_.pad_token_id >= vocabulary) {
      reject_field(where_, "pad_token_id",
                   "null or an id below vocab_size " + std::to_string(vocabulary),
                   std::to_string(*config_.pad_token_id));
    }
    const auto outside = [&](const char* field, std::int64_t id) {
      if (id >= 0 && id < vocabulary) return;
      emit_warning(warn_, where_ + ": " + field + ": " + std::to_string(id) +
                              " is outside the vocabulary of " + std::to_string(vocabulary));
    };
    if (config_.pad_token_id) outside("pad_token_id", *config_.pad_token_id);
    if (config_.bos_token_id) outside("bos_token_id", *config_.bos_token_id);
    for (const std::int64_t id : config_.eos_token_ids) outside("eos_token_id", id);
  }
  void check_labels() const {
    const bool classifies = config_.architecture == Architecture::sequence_classification ||
                            config_.architecture == Architecture::token_classification;
    if (classifies && config_.labels.empty()) {
      reject_field(where_, "num_labels", "at least 1", "0");
    }
    if (config_.problem_type == ProblemType::single_label_classification &&
        config_.num_labels() == 1) {
      reject_field(where_, "problem_type", "regression or multi_label_classification with 1 label",
                   "single_label_classification");
    }
  }

  const ModelConfig& config_;
  const std::string& where_;
  const WarningHandler& warn_;
};

}  // namespace

void validate(const ModelConfig& config, const std::string& where, const WarningHandler& warn) {
  Validator(config, where, warn).run();
}

}  // namespace diffllama
