#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace diffllama {

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};

/// Memory that is not initialised, aligned to 64 bytes; from 1 MiB on it begins a huge page of
/// 2 MiB, and the system is asked for such pages: the rows of a tile of a product lie on as many
/// small ones as it has rows, and looking those up took a quarter of the time of large products.
/// Throws std::bad_alloc.
std::unique_ptr<void, FreeMemory> allocate_memory(std::size_t bytes);

/// The same, freed with the last pointer to it.
std::shared_ptr<std::byte> allocate_large_block(std::size_t bytes);

}  // namespace diffllama
