#include "model/diffllama_model.h"

#include <algorithm>
#include <cassert>

#include "kernels/elementwise.h"
#include "model/row_tasks.h"

namespace diffllama {
namespace {

// Runs `body` on caches that have room for all that is new: memory is asked for before the first
// layer writes. When anything throws, the caches are as they were.
template <class Body>
void with_room(std::span<const SequenceStep> steps, std::vector<SequenceCache::Mark>& marks,
               const Body& body) {
  marks.clear();
  for (const SequenceStep& step : steps) marks.push_back(step.cache->mark());
  try {
    for (const SequenceStep& step : steps) {
      const std::int64_t hidden =
          std::ranges::count(step.visible, std::uint8_t{0});  // tokens that become no keys
      step.cache->reserve(step.tokens() - hidden);
    }
    body();
  } catch (...) {
    for (std::size_t i = 0; i < steps.size(); ++i) steps[i].cache->restore(marks[i]);
    throw;
  }
}

// Finds the rows whose last hidden state is wanted. False: all are, or what layers compute on the
// way.
bool select_wanted(const StepRows& rows, WantedRows& wanted) {
  wanted.pieces.clear();
  wanted.rows.clear();
  wanted.key_limits.clear();
  for (const StepPiece& piece : rows.pieces) {
    const SequenceStep& step = *piece.step;
    if (!step.hidden_states.empty() || !step.attentions.empty()) return false;
    const std::int64_t count = step.outputs_of(piece.first, piece.tokens);
    if (count == 0) continue;
    const std::int64_t skipped = piece.tokens - count;
    wanted.pieces.push_back({&step, piece.first + skipped, count, wanted.tokens()});
    for (std::int64_t row = piece.row + skipped; row < piece.row + piece.tokens; ++row) {
      wanted.rows.push_back(row);
      wanted.key_limits.push_back(rows.key_limits[static_cast<std::size_t>(row)]);
    }
  }
  return wanted.tokens() < rows.tokens();
}

// Moves the caches on behind the rows' tokens.
void advance_caches(const StepRows& rows) {
  for (const StepPiece& piece : rows.pieces) {
    const auto slots =
        std::span(rows.slots)
            .subspan(static_cast<std::size_t>(piece.row), static_cast<std::size_t>(piece.tokens));
    piece.step->cache->advance(
        std::ranges::count_if(slots, [](std::int64_t slot) { return slot >= 0; }), piece.tokens);
  }
}

}  // namespace

DiffLlamaModel::DiffLlamaModel(const ModelConfig& config, const ModelWeights& weights,
                               std::int64_t prefill_chunk, CacheType cache_type)
    : config_(config),
      weights_(weights),
      attention_(attention_descriptor(config)),
      rotary_(config),
      prefill_chunk_(prefill_chunk),
      cache_type_(cache_type) {
  assert(prefill_chunk >= 1);
}

SequenceCache DiffLlamaModel::make_cache(CacheType type, CacheBlockPool* pool) const {
  return {attention_.geometry, config_.num_hidden_layers, weights_.product_type,
          type == CacheType::automatic ? cache_type_ : type, pool};
}

void DiffLlamaModel::run(std::span<const SequenceStep> steps, ForwardScratch& scratch,
                         const Parallel& parallel) const {
  with_room(steps, scratch.marks, [&] { run_chunks(steps, scratch, parallel); });
}

void DiffLlamaModel::record(std::span<const SequenceStep> steps, ForwardScratch& scratch,
                            ActivationTape& tape, const Parallel& parallel) const {
  tape.rows.pieces.clear();
  for (const SequenceStep& step : steps) {
    tape.rows.pieces.push_back({&step, 0, step.tokens(), tape.rows.tokens()});
  }
  with_room(steps, scratch.marks, [&] { run_rows(tape.rows, scratch, &tape, parallel); });
}

// Gathers the steps' tokens into chunks of at most prefill_chunk rows.
void DiffLlamaModel::run_chunks(std::span<const SequenceStep> steps, ForwardScratch& scratch,
                                const Parallel& parallel) const {
  StepRows& rows = scratch.rows;
  rows.pieces.clear();
  const auto flush = [&] {
    if (!rows.pieces.empty()) run_rows(rows, scratch, nullptr, parallel);
    rows.pieces.clear();
  };
  for (const SequenceStep& step : steps) {
    // A mask may show a token keys that come after it: such a step cannot be cut.
    if (step.mask != nullptr && step.tokens() > prefill_chunk_ - rows.tokens()) flush();
    for (std::int64_t first = 0; first < step.tokens();) {
      if (rows.tokens() >= prefill_chunk_) flush();
      const std::int64_t left = step.tokens() - first;
      const std::int64_t tokens =
          step.mask != nullptr ? left : std::min(left, prefill_chunk_ - rows.tokens());
      rows.pieces.push_back({&step, first, tokens, rows.tokens()});
      first += tokens;
    }
  }
  flush();
}

void DiffLlamaModel::run_rows(StepRows& rows, ForwardScratch& scratch, ActivationTape* tape,
                              const Parallel& parallel) const {
  std::int64_t tokens = rows.tokens();
  const std::int64_t width = config_.hidden_size;
  const std::int64_t layers = config_.num_hidden_layers;
  const auto keep_hidden_state = [&](std::int64_t index, const float* x) {
    for (const StepPiece& piece : rows.pieces) {
      if (piece.step->hidden_states.empty()) continue;
      float* target =
          piece.step->hidden_states[static_cast<std::size_t>(index)] + piece.first * width;
      std::copy_n(x + piece.row * width, piece.tokens * width, target);
    }
  };

  float* x = reserve_rows(scratch.layer.x, tokens, width);  // [N, C], the residual stream
  embed(rows, x, parallel);
  prepare(rows, scratch.frequencies);
  const bool narrow = tape == nullptr && select_wanted(rows, scratch.wanted);
  if (tape != nullptr) tape->layers.resize(static_cast<std::size_t>(layers));
  for (std::int64_t number = 0; number < layers; ++number) {
    keep_hidden_state(number, x);
    DecoderLayer layer = layer_of(number);
    LayerActivations* kept = nullptr;
    if (tape != nullptr) {
      kept = &tape->layers[static_cast<std::size_t>(number)];
      std::copy_n(x, tokens * width, reserve_rows(kept->input, tokens, width));
      layer.lora_dropout = tape->lora_dropout;
      if (tape->inputs_only) kept = nullptr;
    }
    const bool last = number + 1 == layers;
    decoder_layer(layer, rows, narrow && last ? &scratch.wanted : nullptr, scratch.layer, kept,
                  parallel);
  }
  if (narrow) tokens = scratch.wanted.tokens();
  if (tape != nullptr) std::copy_n(x, tokens * width, reserve_rows(tape->last, tokens, width));
  for_each_row(tokens, parallel, [&](std::int64_t row) {
    float* values = x + row * width;
    rms_norm(values, weights_.norm.data(), static_cast<float>(config_.rms_norm_eps), 1.0F, values,
             width);
  });
  if (tape != nullptr) std::copy_n(x, tokens * width, reserve_rows(tape->normed, tokens, width));
  keep_hidden_state(layers, x);
  hand_out(narrow ? scratch.wanted.pieces : rows.pieces, x);
  advance_caches(rows);
}

// Gives each step the rows of the final norm's output that it wants.
void DiffLlamaModel::hand_out(std::span<const StepPiece> pieces, const float* x) const {
  const std::int64_t width = config_.hidden_size;
  for (const StepPiece& piece : pieces) {
    const SequenceStep& step = *piece.step;
    const std::int64_t count = step.outputs_of(piece.first, piece.tokens);
    if (count == 0) continue;
    const std::int64_t skipped = piece.tokens - count;
    const std::int64_t target = step.last_only ? 0 : piece.first + skipped;
    std::copy_n(x + (piece.row + skipped) * width, count * width, step.output + target * width);
  }
}

DecoderLayer DiffLlamaModel::layer_of(std::int64_t layer) const {
  const bool last = layer + 1 == config_.num_hidden_layers;
  const Linear& next =
      last ? weights_.head : weights_.layers[static_cast<std::size_t>(layer) + 1].q_proj;
  return {.config = config_,
          .attention = attention_,
          .weights = weights_.layers[static_cast<std::size_t>(layer)],
          .product_type = weights_.product_type,
          .number = layer,
          .next = &next.weight};
}

void DiffLlamaModel::rewind(ActivationTape& tape, ForwardScratch& scratch) const {
  for (const StepPiece& piece : tape.rows.pieces) {
    piece.step->cache->truncate(0, 0);
    piece.step->cache->reserve(piece.tokens);
  }
  prepare(tape.rows, scratch.frequencies);
}

void DiffLlamaModel::replay(std::int64_t layer, const ActivationTape& tape, ForwardScratch& scratch,
                            LayerActivations& activations, const Parallel& parallel) const {
  const std::int64_t width = config_.hidden_size;
  const std::int64_t tokens = tape.rows.tokens();
  std::copy_n(activations.input.data(), tokens * width,
              reserve_rows(scratch.layer.x, tokens, width));
  DecoderLayer again = layer_of(layer);
  again.lora_dropout = tape.lora_dropout;
  decoder_layer(again, tape.rows, nullptr, scratch.layer, &activations, parallel);
}

void DiffLlamaModel::embed(const StepRows& rows, float* x, const Parallel& parallel) const {
  const std::int64_t width = config_.hidden_size;
  for (const StepPiece& piece : rows.pieces) {
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

// What every layer shares; the caches have room for the tokens' keys.
void DiffLlamaModel::prepare(StepRows& rows, RotaryFrequencies& own) const {
  const std::int64_t tokens = rows.tokens();
  const std::int64_t half = config_.head_dim / 2;
  float* cos = reserve_rows(rows.cos, tokens, half);
  float* sin = reserve_rows(rows.sin, tokens, half);
  rows.slots.resize(static_cast<std::size_t>(tokens));
  rows.key_limits.resize(static_cast<std::size_t>(tokens));
  for (const StepPiece& piece : rows.pieces) {
    const SequenceStep& step = *piece.step;
    const RotaryFrequencies& frequencies = rotary_.frequencies(step.rotary_length, own);
    std::int64_t keys = step.cache->keys();
    for (std::int64_t i = 0; i < piece.tokens; ++i) {
      const auto token = static_cast<std::size_t>(piece.first + i);
      const auto row = static_cast<std::size_t>(piece.row + i);
      frequencies.cos_sin(step.positions[token], cos + (piece.row + i) * half,
                          sin + (piece.row + i) * half);
      const bool seen = step.visible.empty() || step.visible[token] != 0;
      rows.slots[row] = seen ? keys++ : -1;
      rows.key_limits[row] = keys;
    }
  }
}

}  // namespace diffllama
