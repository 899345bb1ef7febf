#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"

namespace diffllama {

/// A 64-bit hash of each block's bytes (xxHash's XXH3, of pieces of 4 MiB and then of their
/// hashes), made by all threads, a piece at a time. It finds accidents, not forgeries.
std::vector<std::uint64_t> content_hashes(const std::vector<std::span<const std::byte>>& blocks,
                                          const Parallel& parallel);

}  // namespace diffllama
