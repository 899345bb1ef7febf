#include "model/diffllama_model.h"

#include <algorithm>
#include <cassert>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"

namespace diffllama {

namespace {

constexpr std::int64_t kRowsPerTask = 8;

// body(row) for every row, a few rows to a task.
template <class Body>
void for_rows(std::int64_t rows, const Parallel& parallel, const Body& body) {
  parallel.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::int64_t row = task * kRowsPerTask; row < end; ++row) body(row);
  });
}

float* reserve(Buffer<float>& buffer, std::int64_t rows, std::int64_t columns) {
  return buffer.reserve(static_cast<std::size_t>(rows * columns));
}

}  // namespace

DiffLlamaModel::DiffLlamaModel(const ModelConfig& config, const ModelWeights& weights,
                               std::int64_t prefill_chunk, CacheType cache_type)
    : config_(config),
      weights_(weights),
      geometry_(AttentionGeometry::of(config)),
      rotary_(config),
      prefill_chunk_(prefill_chunk),
      cache_type_(cache_type) {
  assert(prefill_chunk >= 1);
}

SequenceCache DiffLlamaModel::make_cache(CacheType type) const {
  return {geometry_, config_.num_hidden_layers, weights_.product_type,
          type == CacheType::automatic ? cache_type_ : type};
}

void DiffLlamaModel::forward(std::span<const SequenceStep> steps, ForwardScratch& scratch,
                             const Parallel& parallel) const {
  std::vector<Piece>& pieces = scratch.pieces;
  pieces.clear();
  std::int64_t rows = 0;
  const auto flush = [&] {
    if (!pieces.empty()) forward_chunk(pieces, scratch, parallel);
    pieces.clear();
    rows = 0;
  };
  for (const SequenceStep& step : steps) {
    // A mask may show a token keys that come after it: such a step cannot be cut.
    if (step.mask != nullptr && rows + step.tokens() > prefill_chunk_) flush();
    for (std::int64_t first = 0; first < step.tokens();) {
      if (rows >= prefill_chunk_) flush();
      const std::int64_t left = step.tokens() - first;
      const std::int64_t tokens =
          step.mask != nullptr ? left : std::min(left, prefill_chunk_ - rows);
      pieces.push_back({&step, first, tokens, rows});
      rows += tokens;
      first += tokens;
    }
  }
  flush();
}

void DiffLlamaModel::forward_chunk(std::span<const Piece> pieces, ForwardScratch& scratch,
                                   const Parallel& parallel) const {
  const std::int64_t tokens = pieces.back().row + pieces.back().tokens;
  const std::int64_t width = config_.hidden_size;
  const std::int64_t layers = config_.num_hidden_layers;
  const auto keep_hidden_state = [&](std::int64_t index, const float* x) {
    for (const Piece& piece : pieces) {
      if (piece.step->hidden_states.empty()) continue;
      float* target =
          piece.step->hidden_states[static_cast<std::size_t>(index)] + piece.first * width;
      std::copy_n(x + piece.row * width, piece.tokens * width, target);
    }
  };

  embed(pieces, scratch, parallel);
  prepare(pieces, scratch);
  float* x = scratch.x.data();  // [N, C], the residual stream
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    keep_hidden_state(layer, x);
    decoder_layer(layer, pieces, tokens, scratch, parallel);
  }
  for_rows(tokens, parallel, [&](std::int64_t row) {
    float* values = x + row * width;
    rms_norm(values, weights_.norm.data(), static_cast<float>(config_.rms_norm_eps), 1.0F, values,
             width);
  });
  keep_hidden_state(layers, x);

  for (const Piece& piece : pieces) {
    const SequenceStep& step = *piece.step;
    const bool ends = piece.first + piece.tokens == step.tokens();
    const float* rows = x + piece.row * width;
    if (step.output != nullptr && !step.last_only) {
      std::copy_n(rows, piece.tokens * width, step.output + piece.first * width);
    } else if (step.output != nullptr && ends) {
      std::copy_n(rows + (piece.tokens - 1) * width, width, step.output);
    }
    const auto slots =
        std::span(scratch.slots)
            .subspan(static_cast<std::size_t>(piece.row), static_cast<std::size_t>(piece.tokens));
    step.cache->advance(std::ranges::count_if(slots, [](std::int64_t slot) { return slot >= 0; }),
                        piece.tokens);
  }
}

void DiffLlamaModel::embed(std::span<const Piece> pieces, ForwardScratch& scratch,
                           const Parallel& parallel) const {
  const std::int64_t width = config_.hidden_size;
  float* x = reserve(scratch.x, pieces.back().row + pieces.back().tokens, width);
  for (const Piece& piece : pieces) {
    for_rows(piece.tokens, parallel, [&](std::int64_t i) {
      float* row = x + (piece.row + i) * width;
      if (piece.step->inputs_embeds != nullptr) {
        std::copy_n(piece.step->inputs_embeds + (piece.first + i) * width, width, row);
      } else {
        const std::int64_t id = piece.step->input_ids[static_cast<std::size_t>(piece.first + i)];
        weights_.embed_tokens.read_row(id, std::span(row, static_cast<std::size_t>(width)));
      }
    });
  }
}

// What every layer shares: cos and sin of each token, the cache slot that its key goes to (-1:
// none), the keys it sees.
void DiffLlamaModel::prepare(std::span<const Piece> pieces, ForwardScratch& scratch) const {
  const std::int64_t tokens = pieces.back().row + pieces.back().tokens;
  const std::int64_t half = config_.head_dim / 2;
  float* cos = reserve(scratch.cos, tokens, half);
  float* sin = reserve(scratch.sin, tokens, half);
  scratch.slots.resize(static_cast<std::size_t>(tokens));
  scratch.key_limits.resize(static_cast<std::size_t>(tokens));
  for (const Piece& piece : pieces) {
    const SequenceStep& step = *piece.step;
    const RotaryFrequencies& frequencies =
        rotary_.frequencies(step.rotary_length, scratch.frequencies);
    std::int64_t keys = step.cache->keys();
    for (std::int64_t i = 0; i < piece.tokens; ++i) {
      const auto token = static_cast<std::size_t>(piece.first + i);
      const auto row = static_cast<std::size_t>(piece.row + i);
      frequencies.cos_sin(step.positions[token], cos + (piece.row + i) * half,
                          sin + (piece.row + i) * half);
      const bool seen = step.visible.empty() || step.visible[token] != 0;
      scratch.slots[row] = seen ? keys++ : -1;
      scratch.key_limits[row] = keys;
    }
    step.cache->reserve(keys - step.cache->keys());
  }
}

// x = x + o_proj(attention(RMSNorm(x))); x = x + down_proj(act(gate_proj(RMSNorm(x))) *
// up_proj(RMSNorm(x)))
void DiffLlamaModel::decoder_layer(std::int64_t layer, std::span<const Piece> pieces,
                                   std::int64_t tokens, ForwardScratch& scratch,
                                   const Parallel& parallel) const {
  const LayerWeights& weights = weights_.layers[static_cast<std::size_t>(layer)];
  const std::int64_t width = config_.hidden_size;
  const std::int64_t d = config_.head_dim;
  const std::int64_t query_width = geometry_.query_heads() * d;
  const std::int64_t key_width = geometry_.key_heads() * d;
  const std::int64_t inner = config_.intermediate_size;
  float* x = scratch.x.data();
  float* normed = reserve(scratch.normed, tokens, width);            // [N, C]
  float* queries = reserve(scratch.queries, tokens, query_width);    // [N, H, d]
  float* keys = reserve(scratch.keys, tokens, key_width);            // [N, K, d]
  float* values = reserve(scratch.values, tokens, key_width);        // [N, K, d]
  float* attended = reserve(scratch.attended, tokens, query_width);  // [N, H / maps, maps d]
  float* gate = reserve(scratch.gate, tokens, inner);                // [N, F]
  float* up = reserve(scratch.up, tokens, inner);                    // [N, F]

  const auto norm = [&](const std::vector<float>& weight) {
    for_rows(tokens, parallel, [&](std::int64_t row) {
      rms_norm(x + row * width, weight.data(), static_cast<float>(config_.rms_norm_eps), 1.0F,
               normed + row * width, width);
    });
  };
  const auto input = [&](const float* rows, std::int64_t columns) {
    scratch.rows.assign(rows, tokens, columns, columns, weights_.product_type);
  };
  const auto projection = [](const Linear& linear, float* out) {
    return Product{&linear.weight, linear.bias_or_null(), out, linear.weight.n()};
  };
  const auto project = [&](std::initializer_list<Product> products) {
    matmul(scratch.rows, products, parallel);
  };
  const auto add_to_residual = [&](const float* update) {
    for_rows(tokens, parallel,
             [&](std::int64_t row) { add_to(x + row * width, update + row * width, width); });
  };

  norm(weights.input_layernorm);
  input(normed, width);
  project({projection(weights.q_proj, queries), projection(weights.k_proj, keys),
           projection(weights.v_proj, values)});

  for (const Piece& piece : pieces) {
    for_rows(piece.tokens, parallel, [&](std::int64_t i) {
      const std::int64_t row = piece.row + i;
      const float* cos = scratch.cos.data() + row * (d / 2);
      const float* sin = scratch.sin.data() + row * (d / 2);
      for (std::int64_t c = 0; c < query_width; c += d)
        rotary_embed(queries + row * query_width + c, cos, sin, d);
      for (std::int64_t c = 0; c < key_width; c += d)
        rotary_embed(keys + row * key_width + c, cos, sin, d);
    });
    const auto slots =
        std::span(scratch.slots)
            .subspan(static_cast<std::size_t>(piece.row), static_cast<std::size_t>(piece.tokens));
    piece.step->cache->write(layer, slots, keys + piece.row * key_width,
                             values + piece.row * key_width, parallel);
  }

  scratch.inputs.clear();
  for (const Piece& piece : pieces) {
    const SequenceStep& step = *piece.step;
    AttentionInput attention_input{
        .cache = step.cache,
        .tokens = piece.tokens,
        .queries = queries + piece.row * query_width,
        .key_limit = scratch.key_limits.data() + piece.row,
        .mask = step.mask,
        .mask_stride = step.mask == nullptr ? 0 : step.cache->keys() + step.tokens(),
        .output = attended + piece.row * query_width};
    if (!step.attentions.empty()) {
      attention_input.maps = step.attentions[static_cast<std::size_t>(layer)];
      attention_input.maps.first_token += piece.first;
    }
    scratch.inputs.push_back(attention_input);
  }
  attention(geometry_, weights.differential, layer, scratch.inputs, scratch.attention, parallel);
  input(attended, query_width);
  project({projection(weights.o_proj, normed)});
  add_to_residual(normed);

  norm(weights.post_attention_layernorm);
  input(normed, width);
  project({projection(weights.gate_proj, gate), projection(weights.up_proj, up)});
  for_rows(tokens, parallel, [&](std::int64_t row) {
    gated_activation(config_.hidden_act, gate + row * inner, up + row * inner, gate + row * inner,
                     inner);
  });
  input(gate, inner);
  project({projection(weights.down_proj, normed)});
  add_to_residual(normed);
}

}  // namespace diffllama
