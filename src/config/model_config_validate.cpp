#include <cmath>
#include <cstdint>
#include <limits>
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
    const std::int64_t heads = config_.num_attention_heads;
    const std::int64_t key_value_heads = config_.num_key_value_heads;
    if (config_.model_type == ModelType::diffllama && key_value_heads % 2 != 0) {
      reject_field(where_, "num_key_value_heads", "an even number (heads work in pairs)",
                   std::to_string(key_value_heads));
    }
    if (heads % key_value_heads != 0) {
      reject_field(where_, "num_attention_heads",
                   "a multiple of num_key_value_heads " + std::to_string(key_value_heads),
                   std::to_string(heads));
    }
    if (config_.head_dim % 2 != 0) {
      reject_field(where_, "head_dim", "an even number", std::to_string(config_.head_dim));
    }
    if (config_.model_type == ModelType::llama && config_.hidden_size % heads != 0) {
      reject_field(where_, "hidden_size",
                   "a multiple of num_attention_heads " + std::to_string(heads),
                   std::to_string(config_.hidden_size));
    }
  }
  void check_numbers() const {
    at_least_zero("initializer_range", config_.initializer_range);
    at_least_zero("rms_norm_eps", config_.rms_norm_eps);
    at_least_zero("lambda_std_dev", config_.lambda_std_dev);
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
