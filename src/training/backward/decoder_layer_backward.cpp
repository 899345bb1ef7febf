#include "training/backward/decoder_layer_backward.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/elementwise.h"
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
  const auto rotate = [&](float* rows, std::int64_t heads, std::int64_t row, const float* cos,
                          const float* sin) {
    for (std::int64_t head = 0; head < heads; ++head) {
      rotary_embed(rows + (row * heads + head) * d, cos, sin, d);
    }
  };
  for_each_row(layer.tokens, parallel, [&](std::int64_t row) {
    const float* cos = layer.rows.cos.data() + row * half;
    const float* sin = layer.rows.sin.data() + row * half;
    std::vector<float> minus_sin(static_cast<std::size_t>(half));
    std::transform(sin, sin + half, minus_sin.begin(), [](float value) { return -value; });
    rotate(d_queries, layer.geometry.query_heads(), row, cos, minus_sin.data());
    rotate(d_keys, layer.geometry.key_heads(), row, cos, minus_sin.data());
  });
}

// One of the layer's matrices, by the gradient of its rows.
LinearBackward::Layer layer_gradient(const DecoderLayerGradient& layer, LayerMatrix matrix,
                                     const Rows& dy) {
  return {layer.prefix + names_of(matrix).name,
          layer.weights.*kLayerLinears.at(static_cast<std::size_t>(matrix)), dy};
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

  for_each_row(n, parallel, [&](std::int64_t row) {
    gated_activation(layer.config.hidden_act, kept.gate.data() + row * inner,
                     kept.up.data() + row * inner, activated + row * inner, inner);
    rms_norm(kept.middle.data() + row * width, norm_weight.data(), eps, 1.0F, normed + row * width,
             width);
  });
  linear.run({layer_gradient(layer, LayerMatrix::down_proj, {dx, n, width})}, {activated, n, inner},
             d_activated);
  for_each_row(n, parallel, [&](std::int64_t row) {
    gated_activation_backward(layer.config.hidden_act, kept.gate.data() + row * inner,
                              kept.up.data() + row * inner, d_activated + row * inner,
                              d_gate + row * inner, d_activated + row * inner, inner);
  });
  linear.run({layer_gradient(layer, LayerMatrix::gate_proj, {d_gate, n, inner}),
              layer_gradient(layer, LayerMatrix::up_proj, {d_activated, n, inner})},
             {normed, n, width}, d_normed);
  rms_norm_rows_backward(kept.middle.data(), norm_weight.data(), eps, {d_normed, n, width}, dx,
                         gradients.find(layer.prefix + "post_attention_layernorm.weight"),
                         scratch.reciprocal_rms, parallel);
}

double attention_rows_backward(const DecoderLayerGradient& layer,
                               DecoderLayerBackwardScratch& scratch, const Parallel& parallel) {
  const LayerActivations& kept = layer.activations;
  const AttentionGeometry& geometry = layer.geometry;
  const std::int64_t query_width = geometry.query_heads() * geometry.head_dim;
  const std::int64_t key_width = geometry.key_heads() * geometry.head_dim;
  std::vector<AttentionGradientInput> sequences;
  for (const StepPiece& piece : layer.rows.pieces) {
    const std::int64_t row = piece.row;
    sequences.push_back(
        {.tokens = piece.tokens,
         .queries = kept.queries.data() + row * query_width,
         .keys = kept.keys.data() + row * key_width,
         .values = kept.values.data() + row * key_width,
         .slots = layer.rows.slots.data() + row,
         .key_limit = layer.rows.key_limits.data() + row,
         .mask = piece.step->mask,
         .mask_stride = piece.tokens,
         .reciprocal_rms = kept.reciprocal_rms.data() + row * geometry.output_heads(),
         .output = kept.attended.data() + row * query_width,
         .d_output = scratch.d_attended.data() + row * query_width,
         .d_queries = scratch.d_queries.data() + row * query_width,
         .d_keys = scratch.d_keys.data() + row * key_width,
         .d_values = scratch.d_values.data() + row * key_width});
  }
  return attention_backward(geometry, layer.weights.differential, sequences, scratch.attention,
                            parallel);
}

// x + o_proj(attention(RMSNorm(x)))
void self_attention_backward(const DecoderLayerGradient& layer, const Parameters& parameters,
                             GradientMap& gradients, LinearBackward& linear, float* dx,
                             DecoderLayerBackwardScratch& scratch, const Parallel& parallel) {
  const LayerActivations& kept = layer.activations;
  const std::int64_t n = layer.tokens;
  const std::int64_t width = layer.config.hidden_size;
  const std::int64_t query_width = layer.geometry.query_heads() * layer.geometry.head_dim;
  const std::int64_t key_width = layer.geometry.key_heads() * layer.geometry.head_dim;
  const auto eps = static_cast<float>(layer.config.rms_norm_eps);
  const std::vector<float>& norm_weight = layer.weights.input_layernorm;
  float* normed = reserve_rows(scratch.normed, n, width);
  float* d_normed = reserve_rows(scratch.d_normed, n, width);
  float* d_attended = reserve_rows(scratch.d_attended, n, query_width);
  float* d_queries = reserve_rows(scratch.d_queries, n, query_width);
  float* d_keys = reserve_rows(scratch.d_keys, n, key_width);
  float* d_values = reserve_rows(scratch.d_values, n, key_width);

  linear.run({layer_gradient(layer, LayerMatrix::o_proj, {dx, n, width})},
             {kept.attended.data(), n, query_width}, d_attended);
  const double d_lambda = attention_rows_backward(layer, scratch, parallel);
  if (layer.config.model_type == ModelType::diffllama) {
    lambda_backward(layer, parameters, gradients, d_lambda);
  }
  rotate_back(layer, d_queries, d_keys, parallel);
  for_each_row(n, parallel, [&](std::int64_t row) {
    rms_norm(kept.input.data() + row * width, norm_weight.data(), eps, 1.0F, normed + row * width,
             width);
  });
  linear.run({layer_gradient(layer, LayerMatrix::q_proj, {d_queries, n, query_width}),
              layer_gradient(layer, LayerMatrix::k_proj, {d_keys, n, key_width}),
              layer_gradient(layer, LayerMatrix::v_proj, {d_values, n, key_width})},
             {normed, n, width}, d_normed);
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
