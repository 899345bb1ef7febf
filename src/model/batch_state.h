#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/diffllama_model.h"

namespace diffllama {

/// The caller's side of forward: one cache a sequence, and scratch.
struct BatchState {
  std::vector<SequenceCache> sequences;
  std::vector<std::vector<std::int64_t>>
      key_columns;          // of each sequence: the token that each stored key came from
  std::int64_t length = 0;  // tokens so far, masked ones included
  ForwardScratch scratch;
};

/// Throws InvalidArgument unless batch_size >= 1.
BatchState make_batch_state(const DiffLlamaModel& model, std::int64_t batch_size, CacheType type);
/// Forgets all but the first `length` tokens. Throws InvalidArgument unless 0 <= length <=
/// state.length.
void truncate_sequences(BatchState& state, std::int64_t length);
/// Sequences `indices` of the batch, in that order, some perhaps several times and some not; they
/// share the blocks they have in common. Throws InvalidArgument for an empty list and for indices
/// out of range.
BatchState select_sequences(const BatchState& state, std::span<const std::int64_t> indices);

}  // namespace diffllama
