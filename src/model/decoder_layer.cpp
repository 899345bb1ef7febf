#include "model/decoder_layer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <span>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/gradients.h"
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
        geometry_(layer.attention.geometry),
        rows_(rows),
        pieces_(rows.pieces),
        key_limits_(rows.key_limits.data()),
        scratch_(scratch),
        kept_(kept),
        activations_(kept == nullptr ? scratch.activations : *kept),
        parallel_(parallel),
        tokens_(rows.tokens()),
        width_(layer.config.hidden_size),
        query_width_(geometry_.query_width()),
        key_width_(geometry_.key_width()),
        value_width_(geometry_.value_width()),
        output_width_(geometry_.output_width()),
        x_(scratch.x.data()),
        normed_(reserve_rows(scratch.normed, tokens_, width_)) {}

  /// From the residual stream to rotated queries, and keys and values in the caches.
  void attention_inputs();
  /// Goes on with these rows alone.
  void narrow(const WantedRows& wanted);
  void self_attention();
  void feed_forward();

 private:
  void norm(const std::vector<float>& weight);
  void project(const float* rows, std::initializer_list<Projection> projections,
               const PackedMatrix* next);
  void rotate_and_store(float* queries, float* keys, const float* values);
  void norm_heads(float* queries, float* keys);
  void attend();
  void extend(float* attended);
  void add_to_residual(const float* update);

  const DecoderLayer& layer_;
  const AttentionGeometry& geometry_;
  const StepRows& rows_;
  std::span<const StepPiece> pieces_;  // of the rows that are computed
  const std::int64_t* key_limits_;     // of their tokens
  LayerScratch& scratch_;
  LayerActivations* kept_;
  LayerActivations& activations_;
  const Parallel& parallel_;
  std::int64_t tokens_, width_, query_width_, key_width_, value_width_, output_width_;
  float* x_;       // [N, C], the residual stream
  float* normed_;  // [N, C]
};

void LayerPass::attention_inputs() {
  const LayerWeights& weights = layer_.weights;
  float* queries = reserve_rows(activations_.queries, tokens_, query_width_);  // [N, H, d]
  float* keys = reserve_rows(activations_.keys, tokens_, key_width_);          // [N, K, d]
  float* values = reserve_rows(activations_.values, tokens_, value_width_);    // [N, K d]
  norm(weights.input_layernorm);
  const PackedMatrix* next = &weights.o_proj.weight;
  const Projection query{&weights.q_proj, queries};
  const Projection key{&weights.k_proj, keys};
  const Projection value{&weights.v_proj, values};
  if (layer_.attention.lambda == LambdaRule::sigmoid) {
    const std::int64_t heads = geometry_.output_heads();
    float* lambdas = reserve_rows(activations_.lambdas, tokens_, heads);  // [N, output heads]
    project(normed_, {query, key, value, {&weights.lambda_proj, lambdas}}, next);
    for (float* lambda = lambdas; lambda < lambdas + tokens_ * heads; ++lambda) {
      *lambda = 1.0F / (1.0F + std::exp(-*lambda));
    }
  } else {
    project(normed_, {query, key, value}, next);
  }
  if (layer_.attention.qk_norm) norm_heads(queries, keys);
  rotate_and_store(queries, keys, values);
}

void LayerPass::narrow(const WantedRows& wanted) {
  const auto pick = [&](float* from, std::int64_t columns) {
    for (std::int64_t i = 0; i < wanted.tokens(); ++i) {
      const std::int64_t row = wanted.rows[static_cast<std::size_t>(i)];
      if (row != i) std::copy_n(from + row * columns, columns, from + i * columns);
    }
  };
  pick(x_, width_);
  pick(activations_.queries.data(), query_width_);
  if (layer_.attention.lambda == LambdaRule::sigmoid) {
    pick(activations_.lambdas.data(), geometry_.output_heads());
  }
  pieces_ = wanted.pieces;
  key_limits_ = wanted.key_limits.data();
  tokens_ = wanted.tokens();
}

// x = x + o_proj(attention(RMSNorm(x))), from attention_inputs() on
void LayerPass::self_attention() {
  const LayerWeights& weights = layer_.weights;
  float* attended =
      reserve_rows(activations_.attended, tokens_, output_width_);  // [N, heads, value_columns]
  attend();
  if (!weights.dex.heads.empty()) extend(attended);
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
    if (!weights.poly_norm.empty()) {
      return poly_norm(gate + row * inner, up + row * inner, weights.poly_norm.data(),
                       activated + row * inner, inner);
    }
    gated_activation(layer_.config.hidden_act, gate + row * inner, up + row * inner,
                     activated + row * inner, inner);
  });
  project(activated, {{&weights.down_proj, normed_}}, layer_.next);
  add_to_residual(normed_);
}

// RMSNorm of each head of queries and keys.
void LayerPass::norm_heads(float* queries, float* keys) {
  const std::int64_t d = geometry_.head_dim;
  const auto eps = static_cast<float>(layer_.config.rms_norm_eps);
  if (kept_ != nullptr) {
    std::copy_n(queries, tokens_ * query_width_,
                reserve_rows(kept_->raw_queries, tokens_, query_width_));
    std::copy_n(keys, tokens_ * key_width_, reserve_rows(kept_->raw_keys, tokens_, key_width_));
  }
  for_each_row(tokens_, parallel_, [&](std::int64_t row) {
    const auto norm_row = [&](float* heads, std::int64_t width, const std::vector<float>& weight) {
      for (float* head = heads + row * width; head < heads + (row + 1) * width; head += d) {
        rms_norm(head, weight.data(), eps, 1.0F, head, d);
      }
    };
    norm_row(queries, query_width_, layer_.weights.q_norm);
    norm_row(keys, key_width_, layer_.weights.k_norm);
  });
}

void LayerPass::norm(const std::vector<float>& weight) {
  const auto eps = static_cast<float>(layer_.config.rms_norm_eps);
  for_each_row(tokens_, parallel_, [&](std::int64_t row) {
    rms_norm(x_ + row * width_, weight.data(), eps, 1.0F, normed_ + row * width_, width_);
  });
}

// Up to four products of the same rows.
void LayerPass::project(const float* rows, std::initializer_list<Projection> projections,
                        const PackedMatrix* next) {
  std::array<Product, 4> products;
  std::size_t count = 0;
  for (const auto& [linear, out] : projections) {
    products.at(count++) = {&linear->weight, linear->bias_or_null(), out, linear->weight.n()};
  }
  const std::int64_t columns = projections.begin()->linear->weight.k();
  scratch_.rows.assign(rows, tokens_, columns, columns, layer_.product_type);
  const std::span all(products);
  const std::size_t first = std::min<std::size_t>(count, 3);  // what matmul takes
  matmul(scratch_.rows, all.first(first), parallel_, next);
  if (count > first) matmul(scratch_.rows, all.subspan(first, count - first), parallel_, next);
  for (const auto& [linear, out] : projections) {
    if (!linear->lora) continue;
    add_lora(*linear->lora, layer_.lora_dropout, rows, tokens_, out, scratch_.lora, parallel_);
  }
}

// Turns queries and keys, and gives keys and values to the caches.
void LayerPass::rotate_and_store(float* queries, float* keys, const float* values) {
  const std::int64_t d = geometry_.head_dim;
  const auto rotate = layer_.attention.interleaved_rotary ? rotary_embed_interleaved : rotary_embed;
  for (const StepPiece& piece : rows_.pieces) {
    for_each_row(piece.tokens, parallel_, [&](std::int64_t i) {
      const std::int64_t row = piece.row + i;
      const float* cos = rows_.cos.data() + row * (d / 2);
      const float* sin = rows_.sin.data() + row * (d / 2);
      for (std::int64_t c = 0; c < query_width_; c += d)
        rotate(queries + row * query_width_ + c, cos, sin, d);
      for (std::int64_t c = 0; c < key_width_; c += d)
        rotate(keys + row * key_width_ + c, cos, sin, d);
    });
    const auto slots =
        std::span(rows_.slots)
            .subspan(static_cast<std::size_t>(piece.row), static_cast<std::size_t>(piece.tokens));
    piece.step->cache->write(layer_.number, slots, keys + piece.row * key_width_,
                             values + piece.row * value_width_, parallel_);
  }
}

// From the rotated queries to what o_proj takes.
void LayerPass::attend() {
  const std::int64_t heads = geometry_.output_heads();
  const bool weighted = layer_.attention.norm == HeadNorm::weighted;
  float* reciprocal_rms =  // [N, output heads]
      kept_ == nullptr ? nullptr : reserve_rows(kept_->reciprocal_rms, tokens_, heads);
  float* before_norm = kept_ == nullptr || !weighted
                           ? nullptr
                           : reserve_rows(kept_->before_norm, tokens_, output_width_);
  scratch_.inputs.clear();
  for (const StepPiece& piece : pieces_) {
    const SequenceStep& step = *piece.step;
    AttentionInput input{.cache = step.cache,
                         .tokens = piece.tokens,
                         .queries = activations_.queries.data() + piece.row * query_width_,
                         .key_limit = key_limits_ + piece.row,
                         .output = activations_.attended.data() + piece.row * output_width_};
    if (step.mask != nullptr) {
      input.mask_stride = step.cache->keys() + step.tokens();
      input.mask = step.mask + piece.first * input.mask_stride;
    }
    if (layer_.attention.lambda == LambdaRule::sigmoid) {
      input.lambdas = activations_.lambdas.data() + piece.row * heads;
    }
    if (reciprocal_rms != nullptr) input.reciprocal_rms = reciprocal_rms + piece.row * heads;
    if (before_norm != nullptr) input.before_norm = before_norm + piece.row * output_width_;
    if (!step.attentions.empty()) {
      input.maps = step.attentions[static_cast<std::size_t>(layer_.number)];
      input.maps.first_token += piece.first;
    }
    scratch_.inputs.push_back(input);
  }
  attention(geometry_, layer_.weights.differential, layer_.number, scratch_.inputs,
            scratch_.attention, parallel_);
}

// DEX: o = o - lambda W o for some of the output heads.
void LayerPass::extend(float* attended) {
  const DexWeights& dex = layer_.weights.dex;
  const std::int64_t d = geometry_.value_columns;
  if (kept_ != nullptr) {
    std::copy_n(attended, tokens_ * output_width_,
                reserve_rows(kept_->before_dex, tokens_, output_width_));
  }
  float* mapped = reserve_rows(scratch_.mapped, tokens_, d);
  for (std::size_t i = 0; i < dex.heads.size(); ++i) {
    float* head = attended + dex.heads[i] * d;
    const Product product{&dex.proj[i], nullptr, mapped, d};
    scratch_.rows.assign(head, tokens_, d, output_width_, layer_.product_type);
    matmul(scratch_.rows, std::span(&product, 1), parallel_);
    for_each_row(tokens_, parallel_, [&](std::int64_t row) {
      add_product(head + row * output_width_, -dex.lambda[i], mapped + row * d, nullptr, d);
    });
  }
}

void LayerPass::add_to_residual(const float* update) {
  for_each_row(tokens_, parallel_,
               [&](std::int64_t row) { add_to(x_ + row * width_, update + row * width_, width_); });
}

}  // namespace

void decoder_layer(const DecoderLayer& layer, const StepRows& rows, const WantedRows* wanted,
                   LayerScratch& scratch, LayerActivations* kept, const Parallel& parallel) {
  LayerPass pass(layer, rows, scratch, kept, parallel);
  pass.attention_inputs();
  if (wanted != nullptr) {
    if (wanted->tokens() == 0) return;
    pass.narrow(*wanted);
  }
  pass.self_attention();
  pass.feed_forward();
}

}  // namespace diffllama
