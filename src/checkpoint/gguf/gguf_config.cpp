#include "checkpoint/gguf/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "checkpoint/codec/row_codec.h"
#include "checkpoint/gguf/gguf_end_tokens.h"
#include "config/model_config.h"
#include "config/names.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// Keys that change nothing here, or are read (docs/model.md and the format's documentation).
constexpr std::array kKnownKeys = {
    "added_tokens",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "config",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "generation_config",
    "special_tokens_map",
    "tokenizer_config",
    "source.bfloat16",
    "source.float16",
    "source.float32",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "vocab_size",
};

class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, ModelType type)
      : file_(file),
        prefix_(std::string(model_type_name(type)) + "."),
        config_(default_config(type)) {}

  ModelConfig read(const WarningHandler& warn) {
    config_.architecture = Architecture::causal_lm;
    refuse_other_models();
    read_sizes();
    read_vocabulary_size();
    read_flags();
    read_rope();
    read_special_ids();
    warn_of_unknown_keys(warn);
    return std::move(config_);
  }

 private:
  std::string key(const char* name) const { return prefix_ + name; }
  std::int64_t required(const char* name) const {
    const auto value = file_.integer(key(name));
    if (!value) file_.refuse(key(name), "an integer", "none");
    return *value;
  }
  std::optional<std::int64_t> layer_size(const char* name) const {
    return file_.layer_size(key(name), config_.num_hidden_layers);
  }
  std::int64_t required_layer_size(const char* name) const {
    const auto value = layer_size(name);
    if (!value) file_.refuse(key(name), "an integer", "none");
    return *value;
  }
  // A factor in a file is a positive number; anything else would end in NaN logits.
  std::optional<double> positive(const char* name) const {
    const auto value = file_.number(key(name));
    if (value && !(*value > 0 && std::isfinite(*value))) {
      file_.refuse(key(name), "a positive number", std::to_string(*value));
    }
    return value;
  }
  const TensorView* tensor(const std::string& name) const {
    const auto found = file_.tensors().find(name);
    return found == file_.tensors().end() ? nullptr : &found->second;
  }

  void refuse_other_models() const {
    if (const auto experts = file_.integer(key("expert_count")).value_or(0); experts != 0) {
      file_.refuse(key("expert_count"), "0, since mixtures of experts are not supported",
                   std::to_string(experts));
    }
    // One that lies in memory has no other parts beside it.
    const auto parts = file_.integer(kSplitCountKey).value_or(1);
    if (parts > 1 && std::cmp_not_equal(file_.paths().size(), parts)) {
      file_.refuse(kSplitCountKey, "a whole model", std::to_string(parts) + " files");
    }
  }

  void read_sizes() {
    config_.num_hidden_layers = required("block_count");
    config_.hidden_size = required("embedding_length");
    config_.intermediate_size = required_layer_size("feed_forward_length");
    config_.max_position_embeddings = required("context_length");
    config_.num_attention_heads = required_layer_size("attention.head_count");
    config_.num_key_value_heads =
        layer_size("attention.head_count_kv").value_or(config_.num_attention_heads);
    const auto epsilon = positive("attention.layer_norm_rms_epsilon");
    if (!epsilon) file_.refuse(key("attention.layer_norm_rms_epsilon"), "a number", "none");
    config_.rms_norm_eps = *epsilon;
    read_head_dim();
  }

  void read_head_dim() {
    const auto key_length = file_.integer(key("attention.key_length"));
    const auto rotated = file_.integer(key("rope.dimension_count"));
    if (key_length || rotated) {
      config_.head_dim = key_length ? *key_length : *rotated;
    } else if (config_.num_attention_heads > 0) {  // else it is refused with the other sizes
      config_.head_dim = config_.hidden_size / config_.num_attention_heads;
    }
    const std::string expected = std::to_string(config_.head_dim) + ", as the keys' length";
    if (rotated && *rotated != config_.head_dim) {
      file_.refuse(key("rope.dimension_count"), expected, std::to_string(*rotated));
    }
    const auto value_length = file_.integer(key("attention.value_length"));
    if (value_length && *value_length != config_.head_dim) {
      file_.refuse(key("attention.value_length"), expected, std::to_string(*value_length));
    }
  }

  void read_vocabulary_size() {
    const std::uint64_t tokens = file_.array_size("tokenizer.ggml.tokens");
    if (const TensorView* embeddings = tensor("token_embd.weight")) {
      config_.vocab_size = embeddings->shape.front();
    } else if (const auto size = file_.integer(key("vocab_size"))) {
      config_.vocab_size = *size;
    } else {
      config_.vocab_size =
          static_cast<std::int64_t>(std::min<std::uint64_t>(tokens, std::uint64_t{INT64_MAX}));
    }
    if (std::cmp_greater(tokens, config_.vocab_size)) {
      file_.refuse("tokenizer.ggml.tokens",
                   "at most " + std::to_string(config_.vocab_size) +
                       " tokens, one for each row of token_embd.weight",
                   std::to_string(tokens));
    }
  }

  void read_flags() {
    const auto has = [this](const char* name) {
      return tensor(std::string("blk.0.") + name + ".bias") != nullptr;
    };
    config_.tie_word_embeddings = tensor("output.weight") == nullptr;
    config_.attention_bias = has("attn_q") || has("attn_k") || has("attn_v") || has("attn_output");
    config_.mlp_bias = has("ffn_gate") || has("ffn_up") || has("ffn_down");
    config_.qk_norm = tensor("blk.0.attn_q_norm.weight") != nullptr;
  }

  void read_rope() {
    RopeParameters& rope = config_.rope;
    rope.theta = positive("rope.freq_base").value_or(10000.0);
    rope.original_max_position_embeddings =
        file_.integer(key("rope.scaling.original_context_length"));
    rope.short_factor = rope_tensor("rope_factors_short.weight");
    rope.long_factor = rope_tensor("rope_factors_long.weight");
    rope.frequency_divisors = rope_tensor("rope_freqs.weight");

    auto factor = positive("rope.scaling.factor");
    if (!factor) factor = positive("rope.scale_linear");
    // As in llama.cpp, a factor without a type is linear, and longrope is told by its tensors.
    std::string type(file_.text(key("rope.scaling.type")).value_or(factor ? "linear" : "none"));
    if (!rope.short_factor.empty() || !rope.long_factor.empty()) type = "longrope";
    if (type == "none" || (type == "linear" && factor.value_or(1.0) == 1.0)) return;
    if (type == "linear") {
      read_linear(*factor);
    } else if (type == "yarn") {
      read_yarn(factor);
    } else if (type == "longrope") {
      rope.type = RopeType::longrope;
      rope.factor = factor;
      rope.attention_factor = positive("rope.scaling.attn_factor");
    } else {
      file_.refuse(key("rope.scaling.type"), "none, linear, yarn or longrope", type);
    }
    if (!rope.frequency_divisors.empty() && rope.type != RopeType::default_rope) {
      file_.refuse(key("rope.scaling.type"), "none or linear beside rope_freqs.weight", type);
    }
  }

  // With rope_freqs.weight both divide the frequencies.
  void read_linear(double factor) {
    RopeParameters& rope = config_.rope;
    if (rope.frequency_divisors.empty()) {
      rope.type = RopeType::linear;
      rope.factor = factor;
    }
    for (double& divisor : rope.frequency_divisors) divisor *= factor;
  }

  void read_yarn(std::optional<double> factor) {
    RopeParameters& rope = config_.rope;
    if (!factor) file_.refuse(key("rope.scaling.factor"), "a number for yarn", "none");
    rope.type = RopeType::yarn;
    rope.factor = factor;
    rope.beta_fast = positive("rope.scaling.yarn_beta_fast");
    rope.beta_slow = positive("rope.scaling.yarn_beta_slow");
    auto scale = positive("rope.scaling.yarn_attn_factor");
    if (!scale) scale = positive("rope.scaling.attn_factor");
    // GGUF's factor multiplies yarn's own, transformers' stands in its place.
    if (scale && *scale != 1.0) {
      rope.attention_factor = *scale * (0.1 * std::log(std::max(1.0, *factor)) + 1.0);
    }
  }

  std::vector<double> rope_tensor(const std::string& name) const {
    const TensorView* view = tensor(name);
    if (view == nullptr) return {};
    const Shape expected = {config_.head_dim / 2};
    if (view->dtype != DType::float32 || view->shape != expected) {
      throw FormatError(file_.where() + ": tensor " + name + ": expected float32 " +
                        to_string(expected) + ", got " + std::string(dtype_name(view->dtype)) +
                        " " + to_string(view->shape));
    }
    std::vector<float> values(static_cast<std::size_t>(expected[0]));
    decode_row(view->dtype, view->bytes, values);
    for (const float value : values) {
      if (!(value > 0 && std::isfinite(value))) {
        throw FormatError(file_.where() + ": tensor " + name + ": expected positive numbers, got " +
                          std::to_string(value));
      }
    }
    return {values.begin(), values.end()};
  }

  std::optional<std::int64_t> special_id(const char* name) const {
    const std::string id_key = std::string("tokenizer.ggml.") + name;
    const auto id = file_.integer(id_key);
    if (id && (*id < 0 || *id >= config_.vocab_size)) {
      file_.refuse(id_key, "a token id from 0 to " + std::to_string(config_.vocab_size - 1),
                   std::to_string(*id));
    }
    return id;
  }

  void read_special_ids() {
    config_.bos_token_id = special_id("bos_token_id");
    config_.pad_token_id = special_id("padding_token_id");
    for (const char* name : {"eos_token_id", "eot_token_id", "eom_token_id"}) special_id(name);
    config_.eos_token_ids = gguf_end_tokens(file_);
  }

  void warn_of_unknown_keys(const WarningHandler& warn) const {
    std::string unknown;
    for (const auto& [name, value] : file_.metadata()) {
      if (!name.starts_with(prefix_)) continue;
      if (std::ranges::find(kKnownKeys, name.substr(prefix_.size())) != kKnownKeys.end()) continue;
      if (unknown.size() > 1000) {
        unknown += ", ...";
        break;
      }
      unknown += (unknown.empty() ? "" : ", ") + std::string(name.substr(0, 100));
    }
    if (!unknown.empty())
      emit_warning(warn, file_.where() + ": keys that are not read: " + unknown);
  }

  const GgufFile& file_;
  std::string prefix_;
  ModelConfig config_;
};

bool holds_dex(const GgufFile& file) {
  return std::ranges::any_of(file.tensors(), [](const auto& entry) {
    return std::string_view(entry.first).ends_with(".attn_dex_proj.weight");
  });
}

}  // namespace

ModelConfig read_gguf_config(const GgufFile& file, const WarningHandler& warn) {
  constexpr const char* kArchitecture = "general.architecture";
  constexpr const char* kVerbatim = kConfigKey;
  const auto name = file.text(kArchitecture);
  if (!name) file.refuse(kArchitecture, model_type_names(), "none");
  const auto type = find_model_type(*name);
  if (!type) {
    file.refuse(kArchitecture, model_type_names(),
                json_excerpt(nlohmann::json(std::string(*name))));
  }
  const auto text = file.text(kVerbatim);
  if (*type != ModelType::llama && text) {
    ModelConfig config = parse_model_config(*text, file.where() + ": " + kVerbatim, warn);
    if (config.model_type != *type) {
      file.refuse(kVerbatim, "model_type " + std::string(*name),
                  std::string(model_type_name(config.model_type)));
    }
    if (config.architecture != Architecture::causal_lm) {
      file.refuse(
          kVerbatim,
          architecture_name(*type, Architecture::causal_lm) + ", the one class that GGUF holds",
          architecture_name(*type, config.architecture));
    }
    add_end_tokens(gguf_end_tokens(file), config.eos_token_ids);
    return config;
  }
  if (*type != ModelType::llama && *type != ModelType::diffllama) {
    file.refuse(kVerbatim, "a config.json, which holds what has no key", "none");
  }
  ModelConfig config = ConfigReader(file, *type).read(warn);
  if (holds_dex(file)) {
    if (!text) file.refuse(kVerbatim, "a config.json with dex, the heads that it is for", "none");
    config.dex = parse_model_config(*text, file.where() + ": " + kVerbatim, warn).dex;
  }
  validate(config, file.where(), warn);
  return config;
}

}  // namespace diffllama
