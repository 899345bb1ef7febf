#include "model/diffllama_model.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>

#include "kernels/elementwise.h"
#include "model/decoder_layer.h"
#include "model/row_tasks.h"

namespace diffllama {

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
                             SavedActivations* saved, const Parallel& parallel) const {
  const std::int64_t chunk =
      saved == nullptr ? prefill_chunk_ : std::numeric_limits<std::int64_t>::max();
  std::vector<Piece>& pieces = scratch.pieces;
  pieces.clear();
  std::int64_t rows = 0;
  const auto flush = [&] {
    if (!pieces.empty()) forward_chunk(pieces, scratch, saved, parallel);
    if (saved != nullptr) return;  // recompute() goes over the pieces again
    pieces.clear();
    rows = 0;
  };
  for (const SequenceStep& step : steps) {
    // A mask may show a token keys that come after it: such a step cannot be cut.
    if (step.mask != nullptr && rows > 0 && step.tokens() > chunk - rows) flush();
    for (std::int64_t first = 0; first < step.tokens();) {
      if (rows >= chunk) flush();
      const std::int64_t left = step.tokens() - first;
      const std::int64_t tokens = step.mask != nullptr ? left : std::min(left, chunk - rows);
      pieces.push_back({&step, first, tokens, rows});
      rows += tokens;
      first += tokens;
    }
  }
  flush();
}

void DiffLlamaModel::forward_chunk(std::span<const Piece> pieces, ForwardScratch& scratch,
                                   SavedActivations* saved, const Parallel& parallel) const {
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
  if (saved != nullptr) saved->layers.resize(static_cast<std::size_t>(layers));
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    keep_hidden_state(layer, x);
    LayerActivations* kept =
        saved == nullptr ? nullptr : &saved->layers[static_cast<std::size_t>(layer)];
    if (kept != nullptr) std::copy_n(x, tokens * width, reserve_rows(kept->input, tokens, width));
    decoder_layer(layer_of(layer), pieces, scratch,
                  saved != nullptr && saved->inputs_only ? nullptr : kept, parallel);
  }
  if (saved != nullptr) std::copy_n(x, tokens * width, reserve_rows(saved->last, tokens, width));
  for_each_row(tokens, parallel, [&](std::int64_t row) {
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

DecoderLayer DiffLlamaModel::layer_of(std::int64_t layer) const {
  const bool last = layer + 1 == config_.num_hidden_layers;
  const Linear& next =
      last ? weights_.head : weights_.layers[static_cast<std::size_t>(layer) + 1].q_proj;
  return {.config = config_,
          .geometry = geometry_,
          .weights = weights_.layers[static_cast<std::size_t>(layer)],
          .product_type = weights_.product_type,
          .number = layer,
          .next = &next.weight};
}

void DiffLlamaModel::prepare_recompute(std::span<const SequenceStep> steps,
                                       ForwardScratch& scratch) const {
  for (const SequenceStep& step : steps) step.cache->truncate(0, 0);
  prepare(scratch.pieces, scratch);
}

void DiffLlamaModel::recompute(std::int64_t layer, ForwardScratch& scratch,
                               LayerActivations& activations, const Parallel& parallel) const {
  const std::span<const Piece> pieces = scratch.pieces;
  const std::int64_t tokens = pieces.back().row + pieces.back().tokens;
  std::copy_n(activations.input.data(), tokens * config_.hidden_size, scratch.x.data());
  decoder_layer(layer_of(layer), pieces, scratch, &activations, parallel);
}

void DiffLlamaModel::embed(std::span<const Piece> pieces, ForwardScratch& scratch,
                           const Parallel& parallel) const {
  const std::int64_t width = config_.hidden_size;
  float* x = reserve_rows(scratch.x, pieces.back().row + pieces.back().tokens, width);
  for (const Piece& piece : pieces) {
    for_each_row(piece.tokens, parallel, [&](std::int64_t i) {
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
  float* cos = reserve_rows(scratch.cos, tokens, half);
  float* sin = reserve_rows(scratch.sin, tokens, half);
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

}  // namespace diffllama
