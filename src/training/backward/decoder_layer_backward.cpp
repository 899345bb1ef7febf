#include "training/backward/decoder_layer_backward.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"
#include "model/row_tasks.h"

namespace diffllama {
namespace {

// Those of lambda = exp(q1 . k1) - exp(q2 . k2) + lambda_init (equation 2).
void lambda_backward(const DecoderLayerGradient& layer, const Parameters& parameters,
                     GradientMap& gradients, double d_lambda) {
  const std::string prefix = layer.prefix + "self_attn.lambda_";
  const auto d = static_cast<std::size_t>(layer.config.head_dim);
  for (const int number : {1, 2}) {
    const std::string q_name = prefix + "q" + std::to_string(number);
    const std::string k_name = prefix + "k" + std::to_string(number);
    std::vector<float> q(d);
    std::vector<float> k(d);
    parameters.at(q_name).read_row(0, q);
    parameters.at(k_name).read_row(0, k);
    double product = 0;
    for (std::size_t i = 0; i < d; ++i) product += double{q[i]} * double{k[i]};
    const double factor = (number == 1 ? d_lambda : -d_lambda) * std::exp(product);
    float* d_q = gradients.find(q_name);
    float* d_k = gradients.find(k_name);
    for (std::size_t i = 0; i < d; ++i) {
      if (d_q != nullptr) d_q[i] += static_cast<float>(factor * double{k[i]});
      if (d_k != nullptr) d_k[i] += static_cast<float>(factor * double{q[i]});
    }
  }
}

// A rotation's gradient is the rotation back.
void rotate_back(const DecoderLayerGradient& layer, float* d_queries, float* d_keys,
                 const Parallel& parallel) {
  const std::int64_t d = layer.config.head_dim;
  const std::int64_t half = d / 2;
  const AttentionGeometry& geometry = layer.attention.geometry;
  const auto embed = layer.attention.interleaved_rotary ? rotary_embed_interleaved : rotary_embed;
  const auto rotate = [&](float* rows, std::int64_t heads, std::int64_t row, const float* cos,
                          const float* sin) {
    for (std::int64_t head = 0; head < heads; ++head) {
      embed(rows + (row * heads + head) * d, cos, sin, d);
    }
  };
  for_each_row(layer.tokens, parallel, [&](std::int64_t row) {
    const float* cos = layer.rows.cos.data() + row * half;
    const float* sin = layer.rows.sin.data() + row * half;
    std::vector<float> minus_sin(static_cast<std::size_t>(half));
    std::transform(sin, sin + half, minus_sin.begin(), [](float value) { return -value; });
    rotate(d_queries, geometry.query_heads(), row, cos, minus_sin.data());
    rotate(d_keys, geometry.key_heads, row, cos, minus_sin.data());
  });
}

// One of the layer's matrices, by the gradient of its rows.
LinearBackward::Layer layer_gradient(const DecoderLayerGradient& layer, LayerMatrix matrix,
                                     const Rows& dy) {
  return {layer.prefix + names_of(matrix).name,
          layer.weights.*kLayerLinears.at(static_cast<std::size_t>(matrix)), dy};
}

// Sums the rows' parts, ascending.
void add_poly_norm_gradients(const DecoderLayerGradient& layer, GradientMap& gradients,
                             const float* parts) {
  std::array<double, 4> sums = {};
  for (std::int64_t row = 0; row < layer.tokens; ++row) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] += double{parts[static_cast<std::size_t>(row) * sums.size() + i]};
    }
  }
  float* d_weight = gradients.find(layer.prefix + "mlp.act_fn.weight");
  for (std::size_t i = 0; d_weight != nullptr && i < 3; ++i) {
    d_weight[i] += static_cast<float>(sums[i]);
  }
  float* d_bias = gradients.find(layer.prefix + "mlp.act_fn.bias");
  if (d_bias != nullptr) d_bias[0] += static_cast<float>(sums[3]);
}

// x + down_proj(act(gate_proj(RMSNorm(x))) * up_proj(RMSNorm(x)))
void feed_forward_backward(const DecoderLayerGradient& layer, GradientMap& gradients,
                           LinearBackward& linear, float* dx, DecoderLayerBackwardScratch& scratch,
                           const Parallel& parallel) {
  const LayerActivations& kept = layer.activations;
  const std::int64_t n = layer.tokens;
  const std::int64_t width = layer.config.hidden_size;
  const std::int64_t inner = layer.config.intermediate_size;
  const auto eps = static_cast<float>(layer.config.rms_norm_eps);
  const std::vector<float>& norm_weight = layer.weights.post_attention_layernorm;
  float* normed = reserve_rows(scratch.normed, n, width);
  float* d_normed = reserve_rows(scratch.d_normed, n, width);
  float* activated = reserve_rows(scratch.activated, n, inner);
  float* d_activated = reserve_rows(scratch.d_activated, n, inner);
  float* d_gate = reserve_rows(scratch.d_gate, n, inner);

  const float* const poly =
      layer.weights.poly_norm.empty() ? nullptr : layer.weights.poly_norm.data();
  for_each_row(n, parallel, [&](std::int64_t row) {
    const float* gate = kept.gate.data() + row * inner;
    const float* up = kept.up.data() + row * inner;
    if (poly != nullptr) {
      poly_norm(gate, up, poly, activated + row * inner, inner);
    } else {
      gated_activation(layer.config.hidden_act, gate, up, activated + row * inner, inner);
    }
    rms_norm(kept.middle.data() + row * width, norm_weight.data(), eps, 1.0F, normed + row * width,
             width);
  });
  linear.run({layer_gradient(layer, LayerMatrix::down_proj, {dx, n, width})}, {activated, n, inner},
             d_activated);
  float* d_poly = poly == nullptr ? nullptr : reserve_rows(scratch.d_poly_norm, n, 4);
  for_each_row(n, parallel, [&](std::int64_t row) {
    const float* gate = kept.gate.data() + row * inner;
    const float* up = kept.up.data() + row * inner;
    float* d_row = d_activated + row * inner;
    if (poly != nullptr) {
      return poly_norm_backward(gate, up, poly, d_row, d_gate + row * inner, d_row,
                                d_poly + row * 4, inner);
    }
    gated_activation_backward(layer.config.hidden_act, gate, up, d_row, d_gate + row * inner, d_row,
                              inner);
  });
  if (poly != nullptr) add_poly_norm_gradients(layer, gradients, d_poly);
  linear.run({layer_gradient(layer, LayerMatrix::gate_proj, {d_gate, n, inner}),
              layer_gradient(layer, LayerMatrix::up_proj, {d_activated, n, inner})},
             {normed, n, width}, d_normed);
  rms_norm_rows_backward(kept.middle.data(), norm_weight.data(), eps, {d_normed, n, width}, dx,
                         gradients.find(layer.prefix + "post_attention_layernorm.weight"),
                         scratch.reciprocal_rms, parallel);
}

DifferentialGradients attention_rows_backward(const DecoderLayerGradient& layer,
                                              DecoderLayerBackwardScratch& scratch,
                                              const Parallel& parallel) {
  const LayerActivations& kept = layer.activations;
  const AttentionGeometry& geometry = layer.attention.geometry;
  const std::int64_t query_width = geometry.query_width();
  const std::int64_t key_width = geometry.key_width();
  const std::int64_t value_width = geometry.value_width();
  const std::int64_t output_width = geometry.output_width();
  const std::int64_t heads = geometry.output_heads();
  std::vector<AttentionGradientInput> sequences;
  for (const StepPiece& piece : layer.rows.pieces) {
    const std::int64_t row = piece.row;
    sequences.push_back({.tokens = piece.tokens,
                         .queries = kept.queries.data() + row * query_width,
                         .keys = kept.keys.data() + row * key_width,
                         .values = kept.values.data() + row * value_width,
                         .slots = layer.rows.slots.data() + row,
                         .key_limit = layer.rows.key_limits.data() + row,
                         .mask = piece.step->mask,
                         .mask_stride = piece.tokens,
                         .output = kept.attended.data() + row * output_width,
                         .d_output = scratch.d_attended.data() + row * output_width,
                         .d_queries = scratch.d_queries.data() + row * query_width,
                         .d_keys = scratch.d_keys.data() + row * key_width,
                         .d_values = scratch.d_values.data() + row * value_width});
    AttentionGradientInput& input = sequences.back();
    if (layer.attention.norm != HeadNorm::none) {
      input.reciprocal_rms = kept.reciprocal_rms.data() + row * heads;
    }
    if (layer.attention.norm == HeadNorm::weighted) {
      input.before_norm = kept.before_norm.data() + row * output_width;
    }
    if (layer.attention.lambda == LambdaRule::sigmoid) {
      input.lambdas = kept.lambdas.data() + row * heads;
      input.d_lambdas = scratch.d_lambdas.data() + row * heads;
    }
  }
  return attention_backward(geometry, layer.weights.differential, sequences, scratch.attention,
                            parallel);
}

// o = o - lambda W o of some output heads: with g = d o', t = W^T g is d W -= lambda g^T o, d
// lambda = -sum(o t), d o = g - lambda t.
void dex_backward(const DecoderLayerGradient& layer, const Parameters& parameters,
                  GradientMap& gradients, DecoderLayerBackwardScratch& scratch,
                  const Parallel& parallel) {
  const DexWeights& dex = layer.weights.dex;
  const std::string prefix = layer.prefix + "self_attn.dex_";
  const std::int64_t n = layer.tokens;
  const std::int64_t d = layer.attention.geometry.value_columns;
  const std::int64_t width = layer.attention.geometry.output_width();
  const Tensor weight = parameters.at(prefix + "proj.weight").read();
  float* const d_weight = gradients.find(prefix + "proj.weight");
  float* const d_lambda = gradients.find(prefix + "lambda");
  float* mapped = reserve_rows(scratch.d_mapped, n, d);
  for (std::size_t i = 0; i < dex.heads.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i) * d * d;
    float* g = scratch.d_attended.data() + dex.heads[i] * d;
    const float* o = layer.activations.before_dex.data() + dex.heads[i] * d;
    const GemmArgs through{.m = n,
                           .n = d,
                           .k = d,
                           .a = g,
                           .lda = width,
                           .b = weight.f32().data() + at,
                           .ldb = d,
                           .c = mapped,
                           .ldc = d};
    gemm(ProductType::float32, through, parallel);
    if (d_weight != nullptr) {
      float* product = reserve_rows(scratch.d_dex, d, d);
      const GemmArgs outer{.m = d,
                           .n = d,
                           .k = n,
                           .a = g,
                           .lda = width,
                           .transpose_a = true,
                           .b = o,
                           .ldb = width,
                           .c = product,
                           .ldc = d};
      gemm(ProductType::float32, outer, parallel);
      add_product(d_weight + at, -dex.lambda[i], product, nullptr, d * d);
    }
    double sum = 0;
    for (std::int64_t row = 0; row < n; ++row) {
      sum += double{dot(o + row * width, mapped + row * d, d)};
      add_product(g + row * width, -dex.lambda[i], mapped + row * d, nullptr, d);
    }
    if (d_lambda != nullptr) d_lambda[i] -= layer.dex_scale * static_cast<float>(sum);
  }
}

// What q_proj and k_proj gave, where each of its heads went through an RMSNorm.
void head_norms_backward(const DecoderLayerGradient& layer, GradientMap& gradients,
                         DecoderLayerBackwardScratch& scratch, const Parallel& parallel) {
  const auto eps = static_cast<float>(layer.config.rms_norm_eps);
  const std::int64_t d = layer.config.head_dim;
  const auto one = [&](const Buffer<float>& x, const std::vector<float>& weight, const char* name,
                       std::int64_t heads, const Buffer<float>& dy, Buffer<float>& dx) {
    const std::int64_t rows = layer.tokens * heads;
    std::fill_n(reserve_rows(dx, rows, d), rows * d, 0.0F);
    rms_norm_rows_backward(x.data(), weight.data(), eps, {dy.data(), rows, d}, dx.data(),
                           gradients.find(layer.prefix + name), scratch.reciprocal_rms, parallel);
  };
  const AttentionGeometry& geometry = layer.attention.geometry;
  one(layer.activations.raw_queries, layer.weights.q_norm, "self_attn.q_norm.weight",
      geometry.query_heads(), scratch.d_queries, scratch.d_raw_queries);
  one(layer.activations.raw_keys, layer.weights.k_norm, "self_attn.k_norm.weight",
      geometry.key_heads, scratch.d_keys, scratch.d_raw_keys);
}

// d z for lambda = sigmoid(z), in place of d lambda.
void sigmoid_backward(const float* lambdas, float* d_lambdas, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) d_lambdas[i] *= lambdas[i] * (1.0F - lambdas[i]);
}

void add_differential_gradients(const DecoderLayerGradient& layer, const Parameters& parameters,
                                const DifferentialGradients& own, GradientMap& gradients) {
  if (layer.attention.lambda == LambdaRule::exponential) {
    lambda_backward(layer, parameters, gradients, own.lambda);
  }
  float* d_weight = layer.attention.norm == HeadNorm::weighted
                        ? gradients.find(layer.prefix + "self_attn.subln.weight")
                        : nullptr;
  for (std::size_t c = 0; d_weight != nullptr && c < own.norm_weight.size(); ++c) {
    d_weight[c] += static_cast<float>(own.norm_weight[c]);
  }
}

// x + o_proj(attention(RMSNorm(x)))
void self_attention_backward(const DecoderLayerGradient& layer, const Parameters& parameters,
                             GradientMap& gradients, LinearBackward& linear, float* dx,
                             DecoderLayerBackwardScratch& scratch, const Parallel& parallel) {
  const LayerActivations& kept = layer.activations;
  const AttentionGeometry& geometry = layer.attention.geometry;
  const std::int64_t n = layer.tokens;
  const std::int64_t width = layer.config.hidden_size;
  const std::int64_t heads = geometry.output_heads();
  const bool by_token = layer.attention.lambda == LambdaRule::sigmoid;
  const auto eps = static_cast<float>(layer.config.rms_norm_eps);
  const std::vector<float>& norm_weight = layer.weights.input_layernorm;
  float* normed = reserve_rows(scratch.normed, n, width);
  float* d_normed = reserve_rows(scratch.d_normed, n, width);
  float* d_attended = reserve_rows(scratch.d_attended, n, geometry.output_width());
  float* d_queries = reserve_rows(scratch.d_queries, n, geometry.query_width());
  float* d_keys = reserve_rows(scratch.d_keys, n, geometry.key_width());
  float* d_values = reserve_rows(scratch.d_values, n, geometry.value_width());
  float* d_lambdas = by_token ? reserve_rows(scratch.d_lambdas, n, heads) : nullptr;

  linear.run({layer_gradient(layer, LayerMatrix::o_proj, {dx, n, width})},
             {kept.attended.data(), n, geometry.output_width()}, d_attended);
  if (!layer.weights.dex.heads.empty()) {
    dex_backward(layer, parameters, gradients, scratch, parallel);
  }
  add_differential_gradients(layer, parameters, attention_rows_backward(layer, scratch, parallel),
                             gradients);
  rotate_back(layer, d_queries, d_keys, parallel);
  if (layer.attention.qk_norm) {
    head_norms_backward(layer, gradients, scratch, parallel);
    d_queries = scratch.d_raw_queries.data();
    d_keys = scratch.d_raw_keys.data();
  }
  for_each_row(n, parallel, [&](std::int64_t row) {
    rms_norm(kept.input.data() + row * width, norm_weight.data(), eps, 1.0F, normed + row * width,
             width);
  });
  const auto query =
      layer_gradient(layer, LayerMatrix::q_proj, {d_queries, n, geometry.query_width()});
  const auto key = layer_gradient(layer, LayerMatrix::k_proj, {d_keys, n, geometry.key_width()});
  const auto value =
      layer_gradient(layer, LayerMatrix::v_proj, {d_values, n, geometry.value_width()});
  if (by_token) {
    sigmoid_backward(kept.lambdas.data(), d_lambdas, n * heads);
    const auto lambda = layer_gradient(layer, LayerMatrix::lambda_proj, {d_lambdas, n, heads});
    linear.run({query, key, value, lambda}, {normed, n, width}, d_normed);
  } else {
    linear.run({query, key, value}, {normed, n, width}, d_normed);
  }
  rms_norm_rows_backward(kept.input.data(), norm_weight.data(), eps, {d_normed, n, width}, dx,
                         gradients.find(layer.prefix + "input_layernorm.weight"),
                         scratch.reciprocal_rms, parallel);
}

}  // namespace

void rms_norm_rows_backward(const float* x, const float* weight, float eps, const Rows& dy,
                            float* dx, float* d_weight, Buffer<float>& reciprocal_rms,
                            const Parallel& parallel) {
  const std::int64_t width = dy.columns;
  float* r = reserve_rows(reciprocal_rms, dy.rows, 1);
  for_each_row(dy.rows, parallel, [&](std::int64_t row) {
    r[row] = diffllama::reciprocal_rms(x + row * width, eps, width);
    rms_norm_backward(x + row * width, weight, r[row], 1.0F, dy.data + row * width,
                      dx + row * width, width);
  });
  if (d_weight != nullptr) {
    add_column_sums(d_weight, r, dy.data, x, dy.rows, width, parallel);
  }
}

void decoder_layer_backward(const DecoderLayerGradient& layer, const Parameters& parameters,
                            GradientMap& gradients, LinearBackward& linear, float* dx,
                            DecoderLayerBackwardScratch& scratch, const Parallel& parallel) {
  feed_forward_backward(layer, gradients, linear, dx, scratch, parallel);
  self_attention_backward(layer, parameters, gradients, linear, dx, scratch, parallel);
}

}  // namespace diffllama
