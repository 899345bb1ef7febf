#include "model/decoder_layer.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "model/row_tasks.h"

namespace diffllama {
namespace {

struct Projection {
  const Linear* linear;
  float* out;
};

// One layer over the rows of a chunk. N tokens.
class LayerPass {
 public:
  LayerPass(const DecoderLayer& layer, const StepRows& rows, LayerScratch& scratch,
            LayerActivations* kept, const Parallel& parallel)
      : layer_(layer),
        geometry_(layer.geometry),
        rows_(rows),
        scratch_(scratch),
        kept_(kept),
        activations_(kept == nullptr ? scratch.activations : *kept),
        parallel_(parallel),
        tokens_(rows.tokens()),
        width_(layer.config.hidden_size),
        query_width_(geometry_.query_heads() * geometry_.head_dim),
        key_width_(geometry_.key_heads() * geometry_.head_dim),
        x_(scratch.x.data()),
        normed_(reserve_rows(scratch.normed, tokens_, width_)) {}

  void self_attention();
  void feed_forward();

 private:
  void norm(const std::vector<float>& weight);
  void project(const float* rows, std::initializer_list<Projection> projections,
               const PackedMatrix* next);
  void rotate_and_store(float* queries, float* keys, const float* values);
  void attend();
  void add_to_residual(const float* update);

  const DecoderLayer& layer_;
  const AttentionGeometry& geometry_;
  const StepRows& rows_;
  LayerScratch& scratch_;
  LayerActivations* kept_;
  LayerActivations& activations_;
  const Parallel& parallel_;
  std::int64_t tokens_, width_, query_width_, key_width_;
  float* x_;       // [N, C], the residual stream
  float* normed_;  // [N, C]
};

// x = x + o_proj(attention(RMSNorm(x)))
void LayerPass::self_attention() {
  const LayerWeights& weights = layer_.weights;
  float* queries = reserve_rows(activations_.queries, tokens_, query_width_);  // [N, H, d]
  float* keys = reserve_rows(activations_.keys, tokens_, key_width_);          // [N, K, d]
  float* values = reserve_rows(activations_.values, tokens_, key_width_);      // [N, K, d]
  float* attended =
      reserve_rows(activations_.attended, tokens_, query_width_);  // [N, H/maps, maps d]
  norm(weights.input_layernorm);
  project(normed_, {{&weights.q_proj, queries}, {&weights.k_proj, keys}, {&weights.v_proj, values}},
          &weights.o_proj.weight);
  rotate_and_store(queries, keys, values);
  attend();
  project(attended, {{&weights.o_proj, normed_}}, &weights.gate_proj.weight);
  add_to_residual(normed_);
}

// x = x + down_proj(act(gate_proj(RMSNorm(x))) * up_proj(RMSNorm(x)))
void LayerPass::feed_forward() {
  const LayerWeights& weights = layer_.weights;
  const std::int64_t inner = layer_.config.intermediate_size;
  float* gate = reserve_rows(activations_.gate, tokens_, inner);  // [N, F]
  float* up = reserve_rows(activations_.up, tokens_, inner);      // [N, F]
  // In place, unless backward reads the gate.
  float* activated =
      kept_ == nullptr ? gate : reserve_rows(scratch_.activated, tokens_, inner);  // [N, F]
  if (kept_ != nullptr) {
    std::copy_n(x_, tokens_ * width_, reserve_rows(kept_->middle, tokens_, width_));
  }
  norm(weights.post_attention_layernorm);
  project(normed_, {{&weights.gate_proj, gate}, {&weights.up_proj, up}}, &weights.down_proj.weight);
  for_each_row(tokens_, parallel_, [&](std::int64_t row) {
    gated_activation(layer_.config.hidden_act, gate + row * inner, up + row * inner,
                     activated + row * inner, inner);
  });
  project(activated, {{&weights.down_proj, normed_}}, layer_.next);
  add_to_residual(normed_);
}

void LayerPass::norm(const std::vector<float>& weight) {
  const auto eps = static_cast<float>(layer_.config.rms_norm_eps);
  for_each_row(tokens_, parallel_, [&](std::int64_t row) {
    rms_norm(x_ + row * width_, weight.data(), eps, 1.0F, normed_ + row * width_, width_);
  });
}

// Up to three products of the same rows.
void LayerPass::project(const float* rows, std::initializer_list<Projection> projections,
                        const PackedMatrix* next) {
  std::array<Product, 3> products;
  std::size_t count = 0;
  for (const auto& [linear, out] : projections) {
    products.at(count++) = {&linear->weight, linear->bias_or_null(), out, linear->weight.n()};
  }
  const std::int64_t columns = projections.begin()->linear->weight.k();
  scratch_.rows.assign(rows, tokens_, columns, columns, layer_.product_type);
  matmul(scratch_.rows, std::span(products).first(count), parallel_, next);
  for (const auto& [linear, out] : projections) {
    if (!linear->lora) continue;
    add_lora(*linear->lora, layer_.lora_dropout, rows, tokens_, out, scratch_.lora, parallel_);
  }
}

// Turns queries and keys, and gives keys and values to the caches.
void LayerPass::rotate_and_store(float* queries, float* keys, const float* values) {
  const std::int64_t d = geometry_.head_dim;
  for (const StepPiece& piece : rows_.pieces) {
    for_each_row(piece.tokens, parallel_, [&](std::int64_t i) {
      const std::int64_t row = piece.row + i;
      const float* cos = rows_.cos.data() + row * (d / 2);
      const float* sin = rows_.sin.data() + row * (d / 2);
      for (std::int64_t c = 0; c < query_width_; c += d)
        rotary_embed(queries + row * query_width_ + c, cos, sin, d);
      for (std::int64_t c = 0; c < key_width_; c += d)
        rotary_embed(keys + row * key_width_ + c, cos, sin, d);
    });
    const auto slots =
        std::span(rows_.slots)
            .subspan(static_cast<std::size_t>(piece.row), static_cast<std::size_t>(piece.tokens));
    piece.step->cache->write(layer_.number, slots, keys + piece.row * key_width_,
                             values + piece.row * key_width_, parallel_);
  }
}

// From the rotated queries to what o_proj takes.
void LayerPass::attend() {
  float* reciprocal_rms =  // [N, H / maps]
      kept_ == nullptr ? nullptr
                       : reserve_rows(kept_->reciprocal_rms, tokens_, geometry_.output_heads());
  scratch_.inputs.clear();
  for (const StepPiece& piece : rows_.pieces) {
    const SequenceStep& step = *piece.step;
    AttentionInput input{
        .cache = step.cache,
        .tokens = piece.tokens,
        .queries = activations_.queries.data() + piece.row * query_width_,
        .key_limit = rows_.key_limits.data() + piece.row,
        .mask = step.mask,
        .mask_stride = step.mask == nullptr ? 0 : step.cache->keys() + step.tokens(),
        .output = activations_.attended.data() + piece.row * query_width_};
    if (reciprocal_rms != nullptr) {
      input.reciprocal_rms = reciprocal_rms + piece.row * geometry_.output_heads();
    }
    if (!step.attentions.empty()) {
      input.maps = step.attentions[static_cast<std::size_t>(layer_.number)];
      input.maps.first_token += piece.first;
    }
    scratch_.inputs.push_back(input);
  }
  attention(geometry_, layer_.weights.differential, layer_.number, scratch_.inputs,
            scratch_.attention, parallel_);
}

void LayerPass::add_to_residual(const float* update) {
  for_each_row(tokens_, parallel_,
               [&](std::int64_t row) { add_to(x_ + row * width_, update + row * width_, width_); });
}

}  // namespace

void decoder_layer(const DecoderLayer& layer, const StepRows& rows, LayerScratch& scratch,
                   LayerActivations* kept, const Parallel& parallel) {
  LayerPass pass(layer, rows, scratch, kept, parallel);
  pass.self_attention();
  pass.feed_forward();
}

}  // namespace diffllama
