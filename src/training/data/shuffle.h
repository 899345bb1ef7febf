#pragma once

#include <cstdint>

namespace diffllama {

/// Example number `index` of an endless shuffled stream over `size` examples: epochs follow each
/// other, each a permutation of 0..size-1 that depends on (seed, index / size) alone. Pure: no
/// state, no table, so a run continues anywhere. Throws InvalidArgument unless index >= 0 and
/// 1 <= size <= 2^62.
std::int64_t shuffled_example(std::uint64_t seed, std::int64_t index, std::int64_t size);

}  // namespace diffllama
