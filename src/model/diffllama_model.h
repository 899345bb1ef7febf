#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "diffllama/config.h"
#include "model/activation_tape.h"
#include "model/attention.h"
#include "model/decoder_layer.h"
#include "model/kv_cache.h"
#include "model/rotary.h"
#include "model/sequence_step.h"
#include "model/weights.h"

namespace diffllama {

/// Scratch of one run at a time; grows to what the largest chunk needs and is used again.
struct ForwardScratch {
  LayerScratch layer;
  StepRows rows;  // of runs without a tape
  WantedRows wanted;
  RotaryFrequencies frequencies;
  std::vector<SequenceCache::Mark> marks;
};

/// The stack of decoder layers (transformers' DiffLlamaModel and LlamaModel): embeddings, layers,
/// final norm. Const: any state is the caller's.
class DiffLlamaModel {
 public:
  /// `weights` and `config` must outlive it. prefill_chunk >= 1.
  DiffLlamaModel(const ModelConfig& config, const ModelWeights& weights, std::int64_t prefill_chunk,
                 CacheType cache_type = CacheType::automatic);

  /// automatic: of the model's own cache type.
  SequenceCache make_cache(CacheType type = CacheType::automatic,
                           CacheBlockPool* pool = nullptr) const;
  /// Runs the new tokens of several sequences, at most prefill_chunk at once (a step with a mask
  /// goes whole), and moves their caches on. Each row's bits depend on its own sequence alone: not
  /// on the others, the cut or the threads. When it throws, the caches are as they were.
  void run(std::span<const SequenceStep> steps, ForwardScratch& scratch,
           const Parallel& parallel) const;
  /// The same, and keeps on `tape` what backward reads; all tokens go at once, whatever
  /// prefill_chunk, and the tape's rows are theirs in the order of the steps.
  void record(std::span<const SequenceStep> steps, ForwardScratch& scratch, ActivationTape& tape,
              const Parallel& parallel) const;
  /// After a recording of inputs only: begins to run layers again, from empty caches.
  void rewind(ActivationTape& tape, ForwardScratch& scratch) const;
  /// Runs one layer again from `activations.input` and fills in the others, with the same bits.
  void replay(std::int64_t layer, const ActivationTape& tape, ForwardScratch& scratch,
              LayerActivations& activations, const Parallel& parallel) const;

  const AttentionDescriptor& attention() const { return attention_; }
  const AttentionGeometry& geometry() const { return attention_.geometry; }
  std::int64_t prefill_chunk() const { return prefill_chunk_; }
  /// Equal for SequenceStep::rotary_length that turn tokens in the same way.
  std::int64_t rotary_class(std::int64_t rotary_length) const {
    return rotary_.length_class(rotary_length);
  }

 private:
  void run_chunks(std::span<const SequenceStep> steps, ForwardScratch& scratch,
                  const Parallel& parallel) const;
  void run_rows(StepRows& rows, ForwardScratch& scratch, ActivationTape* tape,
                const Parallel& parallel) const;
  void embed(const StepRows& rows, float* x, const Parallel& parallel) const;
  void prepare(StepRows& rows, RotaryFrequencies& own) const;
  void hand_out(std::span<const StepPiece> pieces, const float* x) const;
  DecoderLayer layer_of(std::int64_t layer) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  AttentionDescriptor attention_;
  RotaryEmbedding rotary_;
  std::int64_t prefill_chunk_;
  CacheType cache_type_;
};

}  // namespace diffllama
