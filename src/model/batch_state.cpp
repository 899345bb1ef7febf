#include "model/batch_state.h"

#include <algorithm>
#include <string>

#include "diffllama/error.h"

namespace diffllama {

BatchState make_batch_state(const DiffLlamaModel& model, std::int64_t batch_size, CacheType type) {
  if (batch_size < 1) {
    throw InvalidArgument("[cache] expected a batch of at least 1, got " +
                          std::to_string(batch_size));
  }
  BatchState state;
  for (std::int64_t b = 0; b < batch_size; ++b) state.sequences.push_back(model.make_cache(type));
  state.key_columns.resize(static_cast<std::size_t>(batch_size));
  return state;
}

void truncate_sequences(BatchState& state, std::int64_t length) {
  if (length < 0 || length > state.length) {
    throw InvalidArgument("[crop] expected a length of 0.." + std::to_string(state.length) +
                          ", got " + std::to_string(length));
  }
  for (std::size_t i = 0; i < state.sequences.size(); ++i) {
    std::vector<std::int64_t>& columns = state.key_columns[i];
    columns.erase(std::ranges::lower_bound(columns, length), columns.end());
    state.sequences[i].truncate(std::ssize(columns), length);
  }
  state.length = length;
}

BatchState select_sequences(const BatchState& state, std::span<const std::int64_t> indices) {
  if (indices.empty()) {
    throw InvalidArgument("[cache] expected at least one sequence to select, got none");
  }
  BatchState selected;
  selected.length = state.length;
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= std::ssize(state.sequences)) {
      throw InvalidArgument("[cache] expected sequences 0.." +
                            std::to_string(state.sequences.size() - 1) + ", got " +
                            std::to_string(index));
    }
    const auto i = static_cast<std::size_t>(index);
    selected.sequences.push_back(state.sequences[i].fork());
    selected.key_columns.push_back(state.key_columns[i]);
  }
  return selected;
}

}  // namespace diffllama
