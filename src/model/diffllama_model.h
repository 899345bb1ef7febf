#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "diffllama/config.h"
#include "model/attention.h"
#include "model/kv_cache.h"
#include "model/rotary.h"
#include "model/weights.h"

namespace diffllama {

/// New tokens of one sequence, and where what is wanted of them goes. T tokens, C hidden_size, S
/// keys.
struct SequenceStep {
  SequenceCache* cache = nullptr;
  std::span<const std::int64_t> input_ids;  // [T], each in 0..V-1; or
  const float* inputs_embeds = nullptr;     // [T, C]
  std::span<const std::int64_t> positions;  // [T]
  /// Length that picks the frequencies of dynamic and longrope: the whole prompt's, one past its
  /// largest position.
  std::int64_t rotary_length = 0;
  /// [T], 0: later tokens do not see this one; empty: all are seen.
  std::span<const std::uint8_t> visible;
  /// [T, S] in place of the causal rule, S = keys before the step + T, all tokens being keys; or
  /// null.
  const std::uint8_t* mask = nullptr;

  bool last_only = false;                 // the last token's row is all that is wanted
  float* output = nullptr;                // last_hidden_state, [T, C] or [1, C]
  std::vector<float*> hidden_states;      // empty, or L + 1 of [T, C]
  std::vector<AttentionMaps> attentions;  // empty, or one a layer

  std::int64_t tokens() const { return static_cast<std::int64_t>(positions.size()); }
};

/// A run of one step's tokens among the rows that go through the layers together.
struct StepPiece {
  const SequenceStep* step;
  std::int64_t first;  // of the step's tokens
  std::int64_t tokens;
  std::int64_t row;  // of the chunk's rows, where its tokens begin
};

/// What a decoder layer computes on its way, of N tokens.
struct LayerActivations {
  Buffer<float> queries, keys, values;  // [N, H, d], [N, K, d], [N, K, d]; the first two rotated
  Buffer<float> attended;               // [N, H / maps, maps d], what o_proj takes
  Buffer<float> gate, up;               // [N, F]
  // The rest is written for backward only.
  Buffer<float> input, middle;   // [N, C], the residual stream before and after attention
  Buffer<float> reciprocal_rms;  // [N, H / maps], as AttentionInput has it
};

/// What a forward keeps for backward.
struct SavedActivations {
  /// Only LayerActivations::input: DiffLlamaModel::recompute() makes the rest of a layer again.
  bool inputs_only = false;
  std::vector<LayerActivations> layers;
  Buffer<float> last;  // [N, C], what enters the final norm
};

/// Scratch of one forward at a time; grows to what the largest chunk needs and is used again.
struct ForwardScratch {
  Buffer<float> x, normed, activated, cos, sin;
  LayerActivations layer;  // of layers whose activations are not kept
  ActivationRows rows;
  LoraScratch lora;
  std::optional<LoraDropout> lora_dropout;  // while an adapter is trained
  AttentionScratch attention;
  std::vector<AttentionInput> inputs;
  std::vector<std::int64_t> slots, key_limits;
  std::vector<StepPiece> pieces;
  RotaryFrequencies frequencies;
};

struct DecoderLayer;

/// The stack of decoder layers (transformers' DiffLlamaModel and LlamaModel): embeddings, layers,
/// final norm. Const: any state is the caller's.
class DiffLlamaModel {
 public:
  /// `weights` and `config` must outlive it. prefill_chunk >= 1.
  DiffLlamaModel(const ModelConfig& config, const ModelWeights& weights, std::int64_t prefill_chunk,
                 CacheType cache_type = CacheType::automatic);

  /// automatic: of the model's own cache type.
  SequenceCache make_cache(CacheType type = CacheType::automatic) const;
  /// Runs the new tokens of several sequences, at most prefill_chunk at once (a step with a mask
  /// goes whole), and moves their caches on. Each row's bits depend on its own sequence alone: not
  /// on the others, the cut or the threads.
  void forward(std::span<const SequenceStep> steps, ForwardScratch& scratch,
               const Parallel& parallel) const {
    forward(steps, scratch, nullptr, parallel);
  }
  /// Keeps what backward reads in `saved`, unless it is null; all tokens then go at once, whatever
  /// prefill_chunk, and the rows of `saved` and `scratch` are theirs in the order of the steps.
  void forward(std::span<const SequenceStep> steps, ForwardScratch& scratch,
               SavedActivations* saved, const Parallel& parallel) const;
  /// After a forward that kept inputs only: begins to run layers again, from empty caches.
  void prepare_recompute(std::span<const SequenceStep> steps, ForwardScratch& scratch) const;
  /// Runs one layer again from `activations.input` and fills in the others, with the same bits.
  void recompute(std::int64_t layer, ForwardScratch& scratch, LayerActivations& activations,
                 const Parallel& parallel) const;

  const AttentionGeometry& geometry() const { return geometry_; }

 private:
  using Piece = StepPiece;
  void forward_chunk(std::span<const Piece> pieces, ForwardScratch& scratch,
                     SavedActivations* saved, const Parallel& parallel) const;
  void embed(std::span<const Piece> pieces, ForwardScratch& scratch,
             const Parallel& parallel) const;
  void prepare(std::span<const Piece> pieces, ForwardScratch& scratch) const;
  DecoderLayer layer_of(std::int64_t layer) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  AttentionGeometry geometry_;
  RotaryEmbedding rotary_;
  std::int64_t prefill_chunk_;
  CacheType cache_type_;
};

}  // namespace diffllama
