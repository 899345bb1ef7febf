#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "model/batch_state.h"
#include "model/diffllama_model.h"

namespace diffllama {

/// What a head takes as one example, where it looks at more than a token: a row of the batch, as
/// the transformers classes do, or each of the packed sequences, as training does, so that nothing
/// is padded.
enum class HeadExamples : std::uint8_t { rows, sequences };

/// The inputs of a forward once checked, in the shapes that the steps borrow from. B batch, T
/// tokens, P tokens in the cache, S = P + T.
struct ForwardBatch {
  std::int64_t batch = 0, tokens = 0, past = 0;
  std::vector<std::int64_t> positions;  // [B, T]
  std::vector<std::uint8_t> visible;    // [B, T], or empty: all
  std::vector<std::uint8_t> mask;       // [B, T, S], or empty: causal
  /// Ends of packed sequences in the rows' concatenation; rows end segments too.
  std::vector<std::int64_t> segment_ends;
  /// Ends of the head's examples in the rows' concatenation.
  std::vector<std::int64_t> example_ends;

  std::int64_t keys() const { return past + tokens; }
  bool is_visible(std::int64_t token) const {
    return visible.empty() || visible[static_cast<std::size_t>(token)] != 0;
  }
};

/// Checks the inputs (docs/model.md "Masks and positions"). `state`: what came before, or null:
/// nothing is kept. Throws InvalidArgument naming the input.
ForwardBatch read_batch(const ModelConfig& config, const ForwardInputs& inputs,
                        const BatchState* state, HeadExamples examples = HeadExamples::rows);

/// The step of a segment, tokens [first, end) of the rows' concatenation, all in one row; its cache
/// and outputs are the caller's to set. Borrows from `inputs` and `batch`.
SequenceStep make_step(const ModelConfig& config, const ForwardInputs& inputs,
                       const ForwardBatch& batch, std::int64_t first, std::int64_t end);

/// Throws InvalidArgument unless every id is in 0..vocab_size-1.
void check_ids(const char* name, std::span<const std::int64_t> ids, std::int64_t vocab_size);

}  // namespace diffllama
