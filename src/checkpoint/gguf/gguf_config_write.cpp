#include <cmath>
#include <numbers>
#include <string>

#include "checkpoint/gguf/gguf_config.h"
#include "config/names.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

class ConfigWriter {
 public:
  ConfigWriter(const ModelConfig& config, const std::string& where, GgufWriter& out)
      : config_(config),
        where_(where),
        out_(out),
        prefix_(std::string(model_type_name(config.model_type)) + ".") {}

  std::vector<TensorSource> write() {
    refuse_what_has_no_key();
    out_.set("general.architecture", model_type_name(config_.model_type));
    set("vocab_size", config_.vocab_size);
    set("context_length", config_.max_position_embeddings);
    set("embedding_length", config_.hidden_size);
    set("block_count", config_.num_hidden_layers);
    set("feed_forward_length", config_.intermediate_size);
    set("attention.head_count", config_.num_attention_heads);
    set("attention.head_count_kv", config_.num_key_value_heads);
    set("attention.key_length", config_.head_dim);
    set("attention.value_length", config_.head_dim);
    set("attention.layer_norm_rms_epsilon", config_.rms_norm_eps);
    set("rope.dimension_count", config_.head_dim);
    set("rope.freq_base", config_.rope.theta);
    write_rope();
    return std::move(tensors_);
  }

 private:
  void set(const char* key, std::int64_t value) {
    if (!std::in_range<std::uint32_t>(value)) {
      refuse(key, "a number below 2^32", std::to_string(value));
    }
    out_.set(prefix_ + key, static_cast<std::uint32_t>(value));
  }
  void set(const char* key, double value) { out_.set(prefix_ + key, static_cast<float>(value)); }
  void set(const char* key, const char* value) { out_.set(prefix_ + key, value); }
  void set(const char* key, const std::optional<double>& value) {
    if (value) set(key, *value);
  }

  [[noreturn]] void refuse(const std::string& field, const std::string& expected,
                           const std::string& found) const {
    throw FormatError(where_ + ": " + field + ": expected " + expected + ", got " + found);
  }

  // A llama file is what these keys say, the others hold their config.json.
  void refuse_what_has_no_key() const {
    if (config_.model_type != ModelType::llama) return;
    if (config_.hidden_act != Activation::silu) {
      refuse("hidden_act", "silu, the one that GGUF's llama has",
             std::string(activation_name(config_.hidden_act)));
    }
    if (config_.rope.type == RopeType::dynamic) {
      refuse("rope_type", "default, linear, yarn, longrope or llama3, which GGUF's llama has",
             "dynamic");
    }
    if (!config_.rope.truncate.value_or(true)) {
      refuse("rope_parameters", "truncate true, as GGUF's yarn has it", "false");
    }
  }

  std::int64_t original_length() const {
    return config_.rope.original_max_position_embeddings.value_or(config_.max_position_embeddings);
  }
  double factor() const {
    return config_.rope.factor.value_or(static_cast<double>(config_.max_position_embeddings) /
                                        static_cast<double>(original_length()));
  }

  void write_rope() {
    switch (config_.rope.type) {
      case RopeType::default_rope:
      case RopeType::dynamic:
        return;
      case RopeType::linear:
        set("rope.scaling.type", "linear");
        return set("rope.scaling.factor", factor());
      case RopeType::yarn:
        return write_yarn();
      case RopeType::longrope:
        return write_longrope();
      case RopeType::llama3:
        return add_tensor("rope_freqs.weight", llama3_divisors());
    }
  }

  void write_yarn() {
    const RopeParameters& rope = config_.rope;
    set("rope.scaling.type", "yarn");
    set("rope.scaling.factor", factor());
    set("rope.scaling.original_context_length", original_length());
    set("rope.scaling.yarn_beta_fast", rope.beta_fast);
    set("rope.scaling.yarn_beta_slow", rope.beta_slow);
    // GGUF's attention factor multiplies yarn's own, transformers' stands in its place.
    const auto own = [this](double mscale) {
      return factor() <= 1 ? 1.0 : 0.1 * mscale * std::log(factor()) + 1.0;
    };
    const double mscale = rope.mscale.value_or(0);
    const double all = rope.mscale_all_dim.value_or(0);
    const bool scaled = mscale != 0 && all != 0;
    if (rope.attention_factor || scaled) {
      set("rope.scaling.yarn_attn_factor",
          rope.attention_factor.value_or(own(mscale) / own(all)) / own(1));
    }
  }

  void write_longrope() {
    const double stretch = factor();
    const double own =
        stretch <= 1
            ? 1.0
            : std::sqrt(1 + std::log(stretch) / std::log(static_cast<double>(original_length())));
    set("rope.scaling.type", "longrope");
    set("rope.scaling.factor", stretch);
    set("rope.scaling.original_context_length", original_length());
    set("rope.scaling.attn_factor", config_.rope.attention_factor.value_or(own));
    add_tensor("rope_factors_long.weight", config_.rope.long_factor);
    add_tensor("rope_factors_short.weight", config_.rope.short_factor);
  }

  // What llama3's rule divides each frequency by: 1 for short waves, the factor for long ones, and
  // between them by the mean of both frequencies.
  std::vector<double> llama3_divisors() const {
    const RopeParameters& rope = config_.rope;
    const double low = rope.low_freq_factor.value();
    const double high = rope.high_freq_factor.value();
    const auto original = static_cast<double>(original_length());
    std::vector<double> divisors;
    for (std::int64_t i = 0; i < config_.head_dim / 2; ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config_.head_dim);
      const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, exponent);
      if (wavelength > original / low) {
        divisors.push_back(factor());
      } else if (wavelength < original / high) {
        divisors.push_back(1.0);
      } else {
        const double smooth = (original / wavelength - low) / (high - low);
        divisors.push_back(1.0 / ((1.0 - smooth) / factor() + smooth));
      }
    }
    return divisors;
  }

  void add_tensor(const char* name, const std::vector<double>& values) {
    const auto size = static_cast<std::int64_t>(values.size());
    tensors_.push_back(rounded_tensor(name, DType::float32, {size},
                                      [values](std::int64_t /*row*/, std::span<float> out) {
                                        for (std::size_t i = 0; i < out.size(); ++i)
                                          out[i] = static_cast<float>(values[i]);
                                      }));
  }

  const ModelConfig& config_;
  const std::string& where_;
  GgufWriter& out_;
  std::string prefix_;
  std::vector<TensorSource> tensors_;
};

}  // namespace

std::vector<TensorSource> write_gguf_config(const ModelConfig& config, const std::string& where,
                                            GgufWriter& out) {
  return ConfigWriter(config, where, out).write();
}

}  // namespace diffllama
