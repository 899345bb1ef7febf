#include "model/rotary.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>

#include "config/json_fields.h"
#include "config/names.h"
#include "diffllama/error.h"

// What is a tensor in modeling_rope_utils.py is float32 here, and what is a Python number there is
// double. A number that meets a tensor is rounded to float32 first, except as an exponent, and
// torch computes a number divided by a tensor as the tensor's reciprocal times the number.

namespace diffllama {
namespace {

using Values = std::vector<float>;

// base ** (arange(0, head_dim, 2) / head_dim)
Values powers(double base, std::int64_t head_dim) {
  Values values(static_cast<std::size_t>(head_dim / 2));
  const auto base32 = static_cast<double>(static_cast<float>(base));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    values[i] = static_cast<float>(std::pow(base32, static_cast<double>(exponent)));
  }
  return values;
}

Values default_inverse(double theta, std::int64_t head_dim) {
  Values inverse = powers(theta, head_dim);
  for (float& value : inverse) value = 1.0F / value;
  return inverse;
}

Values linear_inverse(const ModelConfig& config) {
  Values inverse = default_inverse(config.rope.theta, config.head_dim);
  for (float& value : inverse) value /= static_cast<float>(config.rope.factor.value());
  return inverse;
}

// The frequencies divided one by one: longrope's factors, and GGUF's rope_freqs.weight.
Values divided_inverse(const ModelConfig& config, const std::vector<double>& divisors) {
  Values inverse = powers(config.rope.theta, config.head_dim);
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    inverse[i] = 1.0F / (static_cast<float>(divisors.at(i)) * inverse[i]);
  }
  return inverse;
}

Values llama3_inverse(const ModelConfig& config) {
  const RopeParameters& rope = config.rope;
  const double low = rope.low_freq_factor.value();
  const double high = rope.high_freq_factor.value();
  const auto factor = static_cast<float>(rope.factor.value());
  const auto original = static_cast<double>(
      rope.original_max_position_embeddings.value_or(config.max_position_embeddings));
  const auto longest = static_cast<float>(original / low);
  const auto shortest = static_cast<float>(original / high);

  Values inverse = default_inverse(rope.theta, config.head_dim);
  for (float& value : inverse) {
    const float wavelength = 1.0F / value * static_cast<float>(2 * std::numbers::pi);
    if (wavelength > longest) {
      value /= factor;
    } else if (!(wavelength < shortest)) {
      const float smooth =
          (1.0F / wavelength * static_cast<float>(original) - static_cast<float>(low)) /
          static_cast<float>(high - low);
      value = (1.0F - smooth) * value / factor + smooth * value;
    }
  }
  return inverse;
}

double original_length(const ModelConfig& config) {
  return static_cast<double>(
      config.rope.original_max_position_embeddings.value_or(config.max_position_embeddings));
}

double scaling_factor(const ModelConfig& config) {
  return config.rope.factor.value_or(static_cast<double>(config.max_position_embeddings) /
                                     original_length(config));
}

double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

double yarn_attention_scaling(const ModelConfig& config) {
  const RopeParameters& rope = config.rope;
  if (rope.attention_factor) return *rope.attention_factor;
  const double factor = scaling_factor(config);
  const double mscale = rope.mscale.value_or(0);
  const double mscale_all_dim = rope.mscale_all_dim.value_or(0);
  if (mscale == 0 || mscale_all_dim == 0) return yarn_mscale(factor, 1);
  return yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim);
}

struct Range {
  double low;
  double high;
};

// Between which pairs YaRN passes from extrapolation to interpolation (arXiv 2309.00071, 3.2): the
// pairs that turn beta_fast and beta_slow times over the original length.
Range yarn_correction_range(const ModelConfig& config) {
  const RopeParameters& rope = config.rope;
  const auto dim = static_cast<double>(config.head_dim);
  const auto pair_with = [&](double rotations) {
    return dim * std::log(original_length(config) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  const auto or_default = [](const std::optional<double>& value, double otherwise) {
    return value.value_or(0) == 0 ? otherwise : *value;  // a zero is as good as absent
  };
  Range range{pair_with(or_default(rope.beta_fast, 32)), pair_with(or_default(rope.beta_slow, 1))};
  if (rope.truncate.value_or(true)) range = {std::floor(range.low), std::ceil(range.high)};
  range = {std::max(range.low, 0.0), std::min(range.high, dim - 1)};
  if (range.low == range.high) range.high += 0.001;
  return range;
}

Values yarn_inverse(const ModelConfig& config) {
  const auto factor = static_cast<float>(scaling_factor(config));
  const Range range = yarn_correction_range(config);
  Values inverse = powers(config.rope.theta, config.head_dim);
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    const float extrapolated = 1.0F / inverse[i];
    const float interpolated = 1.0F / (factor * inverse[i]);
    const float ramp = std::clamp((static_cast<float>(i) - static_cast<float>(range.low)) /
                                      static_cast<float>(range.high - range.low),
                                  0.0F, 1.0F);
    const float share = 1.0F - ramp;
    inverse[i] = interpolated * (1.0F - share) + extrapolated * share;
  }
  return inverse;
}

double longrope_attention_scaling(const ModelConfig& config) {
  if (config.rope.attention_factor) return *config.rope.attention_factor;
  const double factor = scaling_factor(config);
  if (factor <= 1.0) return 1.0;
  return std::sqrt(1 + std::log(factor) / std::log(original_length(config)));
}

void check_finite(const RotaryFrequencies& frequencies, const ModelConfig& config) {
  const bool finite = std::isfinite(frequencies.attention_scaling) &&
                      std::all_of(frequencies.inverse.begin(), frequencies.inverse.end(),
                                  [](float value) { return std::isfinite(value); });
  if (!finite) {
    throw ConfigError("rope_parameters: expected settings of rope_type \"" +
                      std::string(rope_type_name(config.rope.type)) +
                      "\" that give finite frequencies, got rope_theta " +
                      number_text(config.rope.theta) + " and factor " +
                      number_text(config.rope.factor.value_or(1)));
  }
}

}  // namespace

void RotaryFrequencies::cos_sin(std::int64_t position, float* cos, float* sin) const {
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    const float angle = static_cast<float>(position) * inverse[i];
    cos[i] = std::cos(angle) * attention_scaling;
    sin[i] = std::sin(angle) * attention_scaling;
  }
}

RotaryEmbedding::RotaryEmbedding(const ModelConfig& config)
    : type_(config.rope.type),
      head_dim_(config.head_dim),
      theta_(config.rope.theta),
      factor_(config.rope.factor.value_or(1)),
      max_positions_(config.max_position_embeddings) {
  const RopeParameters& rope = config.rope;
  if (!rope.frequency_divisors.empty()) {
    type_ = RopeType::default_rope;
    first_.inverse = divided_inverse(config, rope.frequency_divisors);
    check_finite(first_, config);
    return;
  }
  switch (type_) {
    case RopeType::default_rope:
      first_.inverse = default_inverse(theta_, head_dim_);
      break;
    case RopeType::linear:
      first_.inverse = linear_inverse(config);
      break;
    case RopeType::dynamic:
      first_ = dynamic(max_positions_);
      check_finite(dynamic(max_positions_ + 1), config);
      break;
    case RopeType::yarn:
      first_ = {yarn_inverse(config), static_cast<float>(yarn_attention_scaling(config))};
      break;
    case RopeType::longrope:
      short_positions_ = static_cast<std::int64_t>(original_length(config));
      first_ = {divided_inverse(config, rope.short_factor),
                static_cast<float>(longrope_attention_scaling(config))};
      long_ = {divided_inverse(config, rope.long_factor), first_.attention_scaling};
      check_finite(long_, config);
      break;
    case RopeType::llama3:
      first_.inverse = llama3_inverse(config);
      break;
  }
  check_finite(first_, config);
}

const RotaryFrequencies& RotaryEmbedding::frequencies(std::int64_t sequence_length,
                                                      RotaryFrequencies& own) const {
  if (type_ == RopeType::dynamic && sequence_length > max_positions_) {
    own = dynamic(sequence_length);
    return own;
  }
  if (type_ == RopeType::longrope && sequence_length > short_positions_) return long_;
  return first_;
}

std::int64_t RotaryEmbedding::length_class(std::int64_t sequence_length) const {
  if (type_ == RopeType::dynamic && sequence_length > max_positions_) return sequence_length;
  return type_ == RopeType::longrope && sequence_length > short_positions_ ? 1 : 0;
}

// NTK scaling: the base grows with the length. transformers computes it in double for the first
// frequencies, where the length is a number, and in float32 later, where it is a tensor.
RotaryFrequencies RotaryEmbedding::dynamic(std::int64_t sequence_length) const {
  const auto dim = static_cast<double>(head_dim_);
  const double exponent = dim / (dim - 2);
  if (sequence_length <= max_positions_) {
    const auto length = static_cast<double>(max_positions_);
    const double scale = factor_ * length / length - (factor_ - 1);
    return {default_inverse(theta_ * std::pow(scale, exponent), head_dim_)};
  }
  const float scale = static_cast<float>(factor_) * static_cast<float>(sequence_length) /
                          static_cast<float>(max_positions_) -
                      static_cast<float>(factor_ - 1);
  const auto growth = static_cast<float>(std::pow(static_cast<double>(scale), exponent));
  return {default_inverse(static_cast<float>(theta_) * growth, head_dim_)};
}

}  // namespace diffllama
