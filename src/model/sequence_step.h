#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "model/attention.h"
#include "model/kv_cache.h"

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
  /// How many of its tokens [first, first + count) have rows in `output`: they are the last ones.
  std::int64_t outputs_of(std::int64_t first, std::int64_t count) const {
    if (output == nullptr) return 0;
    if (!last_only) return count;
    return first + count == tokens() ? 1 : 0;
  }
};

/// A run of one step's tokens among the rows that go through the layers together.
struct StepPiece {
  const SequenceStep* step;
  std::int64_t first;  // of the step's tokens
  std::int64_t tokens;
  std::int64_t row;  // of the chunk's rows, where its tokens begin
};

/// The rows that go through the layers together, N tokens, and what every layer reads of them.
struct StepRows {
  std::vector<StepPiece> pieces;
  Buffer<float> cos, sin;                // [N, d / 2], the tokens' rotation
  std::vector<std::int64_t> slots;       // [N], the cache slot of the token's key; -1: none
  std::vector<std::int64_t> key_limits;  // [N], the keys that it sees

  std::int64_t tokens() const {
    return pieces.empty() ? 0 : pieces.back().row + pieces.back().tokens;
  }
};

/// Those of StepRows whose last hidden state is wanted, M tokens: the last layer takes keys and
/// values of all, and goes on with these.
struct WantedRows {
  std::vector<StepPiece> pieces;
  std::vector<std::int64_t> rows;        // [M], where they lie in the StepRows, ascending
  std::vector<std::int64_t> key_limits;  // [M]

  std::int64_t tokens() const { return static_cast<std::int64_t>(rows.size()); }
};

}  // namespace diffllama
